"""What reads CLIP features and says what they mean."""
