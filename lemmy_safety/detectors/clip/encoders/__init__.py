"""Pictures and words to CLIP features, at reference precision and faster ones."""
