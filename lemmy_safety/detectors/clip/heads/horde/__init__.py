"""horde_safety: its rules as they are, and the proof of which pictures they cannot flag."""
