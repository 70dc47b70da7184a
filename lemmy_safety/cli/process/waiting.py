"""Waits instead of exiting, if an exit would only cause a restart.

A systemd unit can list the exit codes after which it does not restart a service (``RestartPreventExitStatus``);
docker's restart policies cannot. A container with a wrong key would try to log in to the SSH server forever.
"""

from __future__ import annotations

import contextlib
import errno
import re
import stat
from typing import TYPE_CHECKING

from lemmy_safety.cli.process.stopping import StopSignals

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: On Windows Ctrl-C cannot interrupt an endless wait.
_WAKE_S = 0.5

#: How a note of ours ends, and the most bytes that are read to check that.
_LAST_LINE = re.compile(rb"^exit code \d{1,3}\n\Z", re.MULTILINE)
_LONGEST_NOTE = 65_536


def wait_to_be_stopped(file: Path, *, fault: str, code: int, warn: Callable[[str], None]) -> None:
    """Write the error and its exit code to ``file``, wait until the process is asked to stop, and remove the file.

    A health check looks for the file. If it cannot be written, the wait is the same.
    """
    with StopSignals(exit_code=code) as signals:
        try:
            if not _may_be_replaced(file):
                raise FileExistsError(errno.EEXIST, "it holds something else")
            file.write_text(f"{fault}\nexit code {code}\n", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            warn(f"LEMMY_SAFETY_FAULT_FILE: {file} cannot be written: {error.strerror}.")
        warn("This does not pass by itself. Waiting to be stopped; fix it, then start the service again.")
        while not signals.event.wait(_WAKE_S):
            pass
    forget_fault(file)


def forget_fault(file: Path) -> None:
    """Remove the file that an earlier start left after a kill or a power cut."""
    with contextlib.suppress(OSError):  # the health check shows that it still exists
        if _may_be_replaced(file):
            file.unlink(missing_ok=True)


def _may_be_replaced(file: Path) -> bool:
    """Whether the file does not exist or is a note of ours. The setting may name a device or another file by mistake.

    :raises OSError: that cannot be determined.
    """
    try:
        facts = file.lstat()
    except FileNotFoundError:
        return True
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > _LONGEST_NOTE:
        return False
    return facts.st_size == 0 or _LAST_LINE.search(file.read_bytes()) is not None
