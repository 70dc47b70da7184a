"""One pass: list, skip what is known, fetch, decode, judge, record, act."""

from lemmy_safety.scan.engines import EngineLimits, ThreadsEngine
from lemmy_safety.scan.progress import Outlook, PassCounts, PassSummary, ProgressListener
from lemmy_safety.scan.rate import RateLimit
from lemmy_safety.scan.requests import InPause, PassRequest, ScanOptions
from lemmy_safety.scan.scanner import Scanner

__all__ = [
    "EngineLimits",
    "InPause",
    "Outlook",
    "PassCounts",
    "PassRequest",
    "PassSummary",
    "ProgressListener",
    "RateLimit",
    "ScanOptions",
    "Scanner",
    "ThreadsEngine",
]
