"""CLIP: encoders turn pictures into features, heads say what features mean, a screen saves most of the work."""
