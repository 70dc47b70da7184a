"""Heads read CLIP features and say what they mean."""
