"""Which pictures horde_safety's rules cannot flag, by similarities that are a little off."""
