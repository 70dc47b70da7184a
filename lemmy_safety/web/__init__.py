"""The upload hook: pict-rs asks here before it accepts an upload. Bytes stay in memory.

Importing this package is cheap; ``server`` and ``app`` load the web framework, so callers import them late.
"""
