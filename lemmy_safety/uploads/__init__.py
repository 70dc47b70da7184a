"""The engine that decides on an upload before a deadline: bytes in, a decision out. It is independent of HTTP."""
