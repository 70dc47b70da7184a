"""Who may ask: secrets, networks, and whose word on the caller's address is believed. No framework here."""
