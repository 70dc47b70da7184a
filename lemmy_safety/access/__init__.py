"""Access rules: secrets, networks, and which proxies are trusted for the caller's address. No framework here."""
