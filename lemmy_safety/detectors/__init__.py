"""Detectors: samples in, findings out. Nothing is imported here, so that naming the room costs nothing."""
