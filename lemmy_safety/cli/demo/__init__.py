"""The demo's sample store."""
