"""What ``doctor`` checks, and what other commands check before they start."""
