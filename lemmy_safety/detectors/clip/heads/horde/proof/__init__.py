"""Proves which pictures horde_safety's rules cannot flag, from similarities that are slightly off."""
