"""Knowledge about pict-rs: how it names what it stores, and what that can be. No storage, no network, no settings."""
