"""Fast encoders before the reference: the reference skips the pictures that they prove clear."""
