"""Where objects live: one contract (``base``), and backends for S3, SSH and folders.

This room lists, reads, moves and deletes; it decides nothing, records nothing and keeps no image byte. Backends are
imported by name where they are wired (``lemmy_safety.storage.s3``), so that none of their libraries is loaded for free.
"""
