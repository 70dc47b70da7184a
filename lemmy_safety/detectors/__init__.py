"""Detectors: samples in, findings out. Imports nothing, so that naming this package costs nothing."""
