"""Reads pict-rs's own PostgreSQL database (schema 14 and 15). Never writes it."""
