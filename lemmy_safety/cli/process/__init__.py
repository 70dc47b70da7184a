"""The process itself: its first moments, its standard streams, signals, and its end. Imports no library."""
