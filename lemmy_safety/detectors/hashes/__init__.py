"""Known files and known pictures: lists of hashes, and the canary, a harmless test picture."""
