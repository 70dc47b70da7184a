"""The engine that decides about an upload within a time, whoever asks: bytes in, a decision out. It knows no HTTP."""
