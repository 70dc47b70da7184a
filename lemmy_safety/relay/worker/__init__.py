"""The worker: asks a relay, or a pictrs-safety server, for uploads and judges them here."""
