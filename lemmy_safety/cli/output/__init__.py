"""How results, errors and progress are shown: text, tables, logs, and no secret in any of them."""
