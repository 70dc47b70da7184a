"""Which process on which machine this is, and whether such a process is known to be dead. Knows no database.

A process is identified by its machine, its number and its start time, because numbers are reused. The machine is
the running kernel together with the set of process numbers that this process sees. Containers repeat host names and
process numbers, and each has its own set, so one container never takes another one's process for a dead one.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psutil

#: Start times that are closer than this (seconds) are the same start: Linux counts in hundredths, and texts round.
_SAME_START_S = 0.05

#: Set in a hardware address that ``uuid.getnode`` made up because it found none.
_MADE_UP = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """``host`` is for people. ``started`` is in seconds: since the system's start on Linux, else since 1970."""

    machine: str
    host: str
    pid: int
    started: float

    def is_this_one(self) -> bool:
        """Whether it is the calling process."""
        this = this_process()
        return (self.machine, self.pid) == (this.machine, this.pid) and _is_one_start(self.started, this.started)

    def is_known_to_be_dead(self) -> bool:
        """Whether it ran on this machine and no longer does; False if that cannot be determined."""
        if self.machine != _machine():
            return False
        if not _exists(self.pid):
            return True
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            return not _is_one_start(self.started, _start_of(process))
        except psutil.ZombieProcess:
            return True
        except psutil.Error:  # hidden from this user, or just ended: the next check tells
            return False


def this_process() -> Process:
    """The calling process; also correct after a fork."""
    return Process(
        machine=_machine(),
        host=socket.gethostname(),
        pid=os.getpid(),
        started=_start_of(psutil.Process()),
    )


def _start_of(process: psutil.Process) -> float:
    if not sys.platform.startswith("linux"):
        return float(process.create_time())
    # Linux counts from the system's start. psutil adds the clock's estimate of that start, which moves when the clock
    # is
    # set; the difference does not.
    booted = psutil.boot_time()
    return float(process.create_time() - booted)


def _is_one_start(one: float, other: float) -> bool:
    return abs(one - other) <= _SAME_START_S


def _exists(pid: int) -> bool:
    if os.name != "posix":
        return bool(psutil.pid_exists(pid))
    try:
        os.kill(pid, 0)  # also sees processes that /proc hides from this user
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@lru_cache(maxsize=1)
def _machine() -> str:
    """A name that no other machine or container has; if there is none, one that no other process has."""
    host = socket.gethostname()
    if sys.platform.startswith("linux"):
        with suppress(OSError):
            booted = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            return f"{booted} {Path('/proc/self/ns/pid').readlink()} {host}"
    else:
        hardware = uuid.getnode()
        if not hardware & _MADE_UP:
            return f"{hardware:012x} {host}"
    return secrets.token_hex(16)
