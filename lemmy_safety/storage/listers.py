"""Threads that ask for parts of a listing at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor


@contextmanager
def listers(count: int) -> Iterator[Executor]:
    """``count`` threads. A caller that stops listing early does not wait for outstanding answers."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="list")
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
