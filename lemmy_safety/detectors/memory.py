"""Returns unused memory to the system: Python and the C library both keep some of it."""

from __future__ import annotations

import ctypes
import gc
import sys


def free_memory() -> None:
    """Collect reference cycles, and return the C library's free memory if it is glibc, which otherwise keeps it."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none, and keeps little
        if trim is not None:
            trim(0)
