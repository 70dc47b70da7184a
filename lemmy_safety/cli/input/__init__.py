"""What a command begins with: options and settings, keys, filters, and the answers of a person."""
