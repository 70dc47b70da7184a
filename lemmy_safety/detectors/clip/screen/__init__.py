"""Fast encoders before the reference: what they prove clear, the reference need not look at."""
