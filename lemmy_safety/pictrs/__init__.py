"""pict-rs: how it names what it stores, and how it is asked about its pictures. No storage, no settings."""
