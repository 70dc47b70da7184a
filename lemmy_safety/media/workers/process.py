"""One decoding process as seen by the program that started it: start, ask, watch, end.

A process is started fresh (never forked: threads and models live here) by ``subprocess`` and not by
``multiprocessing``,
whose children import the main module of their parent: a web server, a test runner, or a script that would start
everything again. Only one thread may use it at a time; ``check`` and ``end`` may be called from any other.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

import psutil

from lemmy_safety.lifeline import Lifeline
from lemmy_safety.media.workers.environment import for_a_decoder
from lemmy_safety.media.workers.messages import Alone, BadAnswer, Ready, receive, send, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.media.base import DecodedMedia
    from lemmy_safety.media.workers.messages import Answer, Task

#: Seconds to start Python and to import the media room: about 0.5 on a quiet machine.
_START_S: Final = 60.0
#: How long to wait for a process whose pipe is closed, to find out how it ended.
_LAST_BREATH_S: Final = 1.0
# A process that keeps this share of its limit after a medium leaves too little for the next one: it is replaced.
_KEPT_SHARE: Final = 0.25
# The largest pipe that Linux allows without privileges: fewer turns for a picture of a megabyte than with 64 KiB.
_PIPE_BYTES: Final = 1024 * 1024
#: POSIX shells count exit codes up to this; Windows has its own, known by their hexadecimal names.
_LARGEST_EXIT_CODE: Final = 255

#: The parent handles signals to stop (``confinement.ignore_stop_signals``), even before anything is imported.
#: numpy's OpenBLAS starts a thread for each core at import; ``confinement`` says why it must not.
_PROGRAM: Final = """
import os, signal, sys
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path[:] = {path!r}
from lemmy_safety.lifeline import end_with
end_with({lifeline})
from lemmy_safety.media.workers.main import main
main()
"""


class WorkerLost(Exception):
    """The process has ended. Its text says why, for a person; never leaves this room."""


class WorkerProcess:
    """Starts at once; ``wait_until_ready`` before the first ``give``, then ``answer`` after each."""

    def __init__(self, task: Task, *, quiet: bool) -> None:
        """``quiet`` discards what libraries print.

        :raises OSError: the system cannot start a process.
        :raises pickle.PicklingError: ``decode`` is not a module's function.
        """
        self._task = task
        self._lock = threading.Lock()
        self._deadline: float | None = None
        self._ended_by = ""
        self._ready = False
        # Stays true if the caller was interrupted (Ctrl-C): the next answer is then another medium's.
        self._owes_answer = False
        self._usage: psutil.Process | None = None
        self._own_bytes = 0
        self._timeout_reason = ""
        #: What the current medium shows, as far as known, even if the process is lost.
        self.alone: DecodedMedia | None = None
        first = pickle.dumps(task)
        flags = ["-B"] if sys.dont_write_bytecode else []
        self._lifeline = Lifeline()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter with our own program
                [sys.executable, *flags, "-c", _PROGRAM.format(path=sys.path, lifeline=self._lifeline.number)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if quiet else None,
                bufsize=0,
                env=for_a_decoder(),
                pass_fds=self._lifeline.inherited,
            )
        except BaseException:
            self._lifeline.cut()
            raise
        finally:
            self._lifeline.hand_over()
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        assert self._process.stdout is not None  # noqa: S101 - same reason
        self._jobs = self._process.stdin
        self._answers = io.BufferedReader(cast("io.FileIO", self._process.stdout))
        _widen(self._jobs.fileno())
        _widen(self._answers.fileno())
        with contextlib.suppress(OSError):  # already ended: wait_until_ready reports it
            send(self._jobs, [first])

    @property
    def fit(self) -> bool:
        """Whether it can be used again: alive, owing no answer, and its memory of earlier media returned."""
        with self._lock:
            if self._ended_by or self._owes_answer or self._process.poll() is not None:
                return False
            return self._kept_bytes() <= _KEPT_SHARE * self._task.memory_bytes

    def wait_until_ready(self) -> None:
        """Wait until everything is imported; does nothing the second time.

        :raises WorkerLost: it could not be started.
        """
        if self._ready:
            return
        self._owes_answer = True
        with self._at_work(_START_S, f"not ready after {_START_S:g} s"):
            answer = self._receive()
            if not isinstance(answer, Ready):
                self.end("did not say that it is ready")
                raise WorkerLost(self._ended_by)
            with self._lock, contextlib.suppress(psutil.Error):
                # Not the process that we started if that only starts another one, as in virtual environments on
                # Windows.
                self._usage = psutil.Process(answer.pid)
                self._own_bytes = self._used_bytes()
        self._owes_answer = False
        self._ready = True

    def give(self, data: bytes) -> None:
        """Send a medium; returns when all of it is on its way.

        :raises WorkerLost: the process ended before it had the medium, so not because of it.
        """
        self._owes_answer = True
        self.alone = None
        with self._at_work(_START_S, f"took no medium for {_START_S:g} s"):
            try:
                send(self._jobs, [data])
            except OSError as error:
                raise WorkerLost(self._how_it_ended()) from error

    def answer(self) -> Answer:
        """Wait for the medium's result, no longer than its time limit; ``alone`` is then what it shows itself.

        :raises WorkerLost: the process crashed on it, or was ended because of it.
        """
        limit_s = self._task.timeout_s
        with self._at_work(limit_s, f"timed out after {limit_s:g} s"):
            answer = self._receive()
            if isinstance(answer, Alone):
                self.alone = answer.media
                answer = self._receive()
        self._owes_answer = False
        return answer

    def _receive(self) -> Answer:
        try:
            return unpack(*receive(self._answers, max_bytes=self._task.memory_bytes))
        except (EOFError, OSError) as error:
            raise WorkerLost(self._how_it_ended()) from error
        except BadAnswer as error:
            self.end("its answer makes no sense")
            raise WorkerLost(f"its answer makes no sense ({error})") from error

    @contextmanager
    def _at_work(self, limit_s: float, reason: str) -> Iterator[None]:
        with self._lock:
            self._timeout_reason = reason
            self._deadline = time.monotonic() + limit_s
        try:
            yield
        finally:
            with self._lock:
                self._deadline = None

    def check(self) -> None:
        """End the process if it is over its time or its memory; call this often while it is in use."""
        with self._lock:
            if self._deadline is None or self._ended_by:
                return
            if time.monotonic() > self._deadline:
                self._kill(self._timeout_reason)
            elif self._kept_bytes() > self._task.memory_bytes:
                self._kill(self._task.out_of_memory)

    def end(self, reason: str) -> None:
        """End the process at once, whatever it does. May be called again."""
        with self._lock:
            self._kill(reason)

    def _kill(self, reason: str) -> None:
        self._ended_by = self._ended_by or reason
        with contextlib.suppress(OSError):  # it has just ended
            self._process.kill()

    def clear_away(self, timeout_s: float = _LAST_BREATH_S) -> None:
        """After the end: release the pipes, leave no zombie. Not while another thread waits for an answer."""
        with contextlib.suppress(OSError):
            self._jobs.close()
        self._answers.close()
        self._lifeline.cut()
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel; the system removes it later
            self._process.wait(timeout_s)

    def _used_bytes(self) -> int:
        if self._usage is None:
            return 0
        usage = self._usage.memory_info()
        return int(getattr(usage, "private", usage.rss))  # Windows moves pages out of what it calls resident

    def _kept_bytes(self) -> int:
        """Bytes in use above those it had before its first medium."""
        try:
            return self._used_bytes() - self._own_bytes
        except (psutil.Error, OSError):
            return 0  # it has just ended; its waiting caller finds out from the pipe

    def _how_it_ended(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_BREATH_S)
        with self._lock:
            code = self._process.poll()
            if self._ended_by:
                return self._ended_by
            self._kill("closed its pipe" if code is None else describe_exit(code))
            return self._ended_by


def describe_exit(code: int) -> str:
    """Such as ``crashed (signal 11)``; ``code`` is as in ``subprocess``, negative for signals."""
    if sys.platform != "win32" and code == -signal.SIGKILL:
        return f"crashed (signal {-code}: killed from outside, most likely by the system because memory ran out)"
    if code < 0:
        return f"crashed (signal {-code})"
    return f"crashed (exit code {code if code <= _LARGEST_EXIT_CODE else hex(code)})"


def _widen(pipe: int) -> None:
    if sys.platform == "linux":
        import fcntl  # noqa: PLC0415 - exists on POSIX only

        with contextlib.suppress(OSError):  # one user's share of pipe memory is used up: it works with less
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
