"""horde_safety: its unchanged rules, and the proof of which pictures they cannot flag."""
