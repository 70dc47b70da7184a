"""The door for programs: pict-rs asks here before it accepts an upload. Bytes stay in memory.

Importing this package is cheap; ``server`` and ``app`` bring in the web framework, so doors import them late.
"""
