"""A file for each command: its options and help, what it calls, and what it prints."""
