"""What people list, and what they decide about it."""
