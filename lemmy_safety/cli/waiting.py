"""Waiting instead of ending, where ending would only mean to be started again.

A systemd unit can name the exit codes after which it leaves a service alone (``RestartPreventExitStatus``); docker's
restart policies know no codes. A container with a wrong key would knock on the SSH server for good.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import stat
from typing import TYPE_CHECKING

from lemmy_safety.cli.failures import warn
from lemmy_safety.cli.stopping import StopSignals

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

#: Windows does not let Ctrl-C interrupt a wait without an end.
_WAKE_S = 0.5

#: How a note of ours ends, and the most bytes that are looked at for that.
_LAST_LINE = re.compile(rb"^exit code \d{1,3}\n\Z", re.MULTILINE)
_LONGEST_NOTE = 65_536


def wait_to_be_stopped(file: Path, *, fault: str, code: int) -> None:
    """Write the fault and its exit code to ``file`` and return when the process is asked to stop; then the file is gone.

    A health check looks for the file. Where it cannot be written the wait is the same.
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
    """Remove what an earlier start has left, which a kill or a power cut can do."""
    with contextlib.suppress(OSError):  # the health check shows that it is still there
        if _may_be_replaced(file):
            file.unlink(missing_ok=True)


def _may_be_replaced(file: Path) -> bool:
    """Whether there is nothing of that name, or a note of ours. The setting may name a device or another file by mistake.

    :raises OSError: the system does not say.
    """
    try:
        facts = file.lstat()
    except FileNotFoundError:
        return True
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > _LONGEST_NOTE:
        return False
    return facts.st_size == 0 or _LAST_LINE.search(file.read_bytes()) is not None
