"""lemmy-safety keeps abusive pictures out of a pict-rs store without anybody looking at them."""

__version__ = "0.1.0"
