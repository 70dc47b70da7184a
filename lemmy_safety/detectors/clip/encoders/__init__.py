"""Encode pictures and words as CLIP features, at reference precision and with faster encoders."""
