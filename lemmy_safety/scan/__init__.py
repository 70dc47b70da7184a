"""One pass: list, skip what is known, read, decode, detect, judge, record, act."""

from lemmy_safety.scan.progress import PassCounts, PassSummary, ProgressListener
from lemmy_safety.scan.scanner import PassRequest, Scanner, ScanOptions

__all__ = ["PassCounts", "PassRequest", "PassSummary", "ProgressListener", "ScanOptions", "Scanner"]
