"""What is known of pict-rs itself: how it names the objects it stores. No storage, no network, no settings."""
