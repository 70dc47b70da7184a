"""Two habits of the AV1 encoder that tests must not inherit: it greets on standard error, and as root it makes the thread
that calls it a real-time one, which then starves the servers that a test talks to.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def tamed(codec: str) -> Iterator[None]:
    """While ``libsvtav1`` encodes; nothing for other codecs."""
    if codec != "libsvtav1":
        yield
        return
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
        if hasattr(os, "sched_setscheduler"):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
