"""CLIP: encoders turn pictures into features, heads interpret the features, a screen saves most of the work."""
