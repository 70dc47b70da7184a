"""The most memory that this process and its children have used, while something runs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from types import TracebackType

#: Between two looks at the processes. On Linux nothing between them is missed, because the kernel keeps a peak itself.
_POLL_S = 0.05


class PeakMemory:
    """Resident memory in bytes: ``parent`` of this process, ``worker`` of the largest of its descendants; ``own`` is what of
    this process's is not mapped from files (Linux; elsewhere as ``parent``).

    A worker's peak counts from its start, on Linux; elsewhere, and for the parent everywhere, it is the largest of the
    values seen every 50 ms.
    """

    def __init__(self) -> None:
        self.parent = 0
        self.worker = 0
        self.own = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self.look()

    def look(self) -> None:
        """Take one more look now, such as before workers end."""
        me = psutil.Process()
        memory = me.memory_info()
        self.parent = max(self.parent, memory.rss)
        self.own = max(self.own, memory.rss - getattr(memory, "shared", 0))
        for child in me.children(recursive=True):
            self.worker = max(self.worker, _peak_of(child))

    def _poll(self) -> None:
        while not self._done.wait(_POLL_S):
            self.look()


def _peak_of(process: psutil.Process) -> int:
    try:
        status = Path(f"/proc/{process.pid}/status")
        if status.exists():
            for line in status.read_text(encoding="ascii", errors="replace").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return int(process.memory_info().rss)
    except (psutil.Error, OSError):  # it ended meanwhile
        return 0


def mebibytes(size: int) -> str:
    """Such as ``312 MiB``."""
    return f"{size / 2**20:.0f} MiB"
