"""Passes over storages: what each did, and which one may work on a storage now."""
