"""Decoding processes end when they must, and only then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from support.media.breaking_decoders import break_or_decode
from support.media.decoder_processes import (
    HEALTHY,
    error_stream,
    outcome,
    pid_of,
    posix_only,
    process_decoder,
    refusal,
    wait_for_the_hang,
)

from lemmy_safety.media.workers import process
from lemmy_safety.records import ItemStatus


@posix_only
def test_processes_leave_stopping_to_the_program():
    """Ctrl-C and a service manager's SIGTERM, which reach all processes of a program, do not spoil what is decoded."""
    with process_decoder(decode=break_or_decode) as decoder:
        first = pid_of(decoder)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(first, number)
        assert pid_of(decoder) == first


@posix_only
@pytest.mark.parametrize("module", ["lemmy_safety", "pickle", "lemmy_safety.media.workers.main"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_processes_leave_stopping_to_the_program_also_while_they_start(module, number):
    """A stop that comes while a process still imports the media room ends the program, and does not break the process."""
    program = process._PROGRAM.format(path=sys.path, lifeline=-1)
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-c", program], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        for line in started.stderr:
            if line.rpartition("|")[2].strip() == module:
                break
        started.send_signal(number)
        _, told = started.communicate(timeout=60)  # closes its stdin, which ends it
    assert started.returncode == 1  # what it ends with where it was given no task
    assert "EOFError" in told


def test_a_closed_decoder_says_so(caplog):
    """After close nothing is known of a medium: it is tried again in the next pass, never unreadable."""
    decoder = process_decoder()
    decoder.close()
    decoder.close()
    decoder.start()
    for _ in range(2):
        error = refusal(decoder, HEALTHY)
        assert (error.status, error.decoder_broke) == (ItemStatus.DETECTOR_FAILED, False)
        assert error.reason == "stopped before it was decoded"


@posix_only
def test_close_does_not_wait_for_a_process_that_hangs():
    """Close ends a hanging process; anyone who waits for it, or for a turn, is told of the stop; no process is left."""
    with (
        error_stream() as lines,
        ThreadPoolExecutor(3) as threads,
        process_decoder(workers=1, timeout_s=3600, decode=break_or_decode, quiet=False) as decoder,
    ):
        pid = pid_of(decoder)
        waiting = [threads.submit(refusal, decoder, b"hold the interpreter") for _ in range(3)]
        wait_for_the_hang(lines)
        decoder.close()
        assert {error.result().status for error in waiting} == {ItemStatus.DETECTOR_FAILED}
    assert not psutil.pid_exists(pid)


@posix_only
def test_an_interrupted_caller_leaves_no_answer_behind():
    """After Ctrl-C in the middle of a medium the next one gets its own answer."""
    interrupted = threading.Event()

    def raise_once(*_):
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    def interrupt():
        wait_for_the_hang(lines)
        # Again and again: a signal between Python's last look and the system's wait is noticed after the wait only.
        while not interrupted.wait(0.05):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    usual = signal.signal(signal.SIGINT, raise_once)
    try:
        with error_stream() as lines, process_decoder(decode=break_or_decode, quiet=False) as decoder:
            interrupter = threading.Thread(target=interrupt)
            interrupter.start()
            with pytest.raises(KeyboardInterrupt):
                decoder.decode(b"sleep")
            interrupter.join()
            assert decoder.decode(HEALTHY).info.width == 160
    finally:
        signal.signal(signal.SIGINT, usual)


#: A program without the usual guard around its main part, and with no file that could be imported.
PROGRAM = """
import sys, threading
sys.path[:] = {path!r}
import psutil
from support.media.breaking_decoders import break_or_decode, show_and_break
from lemmy_safety.media import MediaLimits
from lemmy_safety.media.workers import process
from lemmy_safety.media.workers.pool import ProcessDecoder

limits = MediaLimits(max_bytes=1 << 20, max_pixels=1 << 20)
decoder = ProcessDecoder(limits, workers=4, timeout_s=3600, memory_bytes=1 << 28, decode=break_or_decode, quiet=False)
print(decoder.decode({healthy!r}).info.width)
for how in (b"sleep", b"hold the interpreter", b"announce a loop"):
    threading.Thread(target=decoder.decode, args=(how,), daemon=True).start()
print(*[child.pid for child in psutil.Process().children()], flush=True)
threading.Event().wait()
"""


@posix_only
def test_a_medium_makes_way_for_others(processes):
    """Its decoding is ended, nothing is known of it, and the next medium is decoded as ever."""
    slow, other = bytes(bytearray(b"sleep")), bytes(bytearray(b"sleep"))  # equal, and two objects
    with (
        error_stream() as lines,
        process_decoder(timeout_s=600, decode=break_or_decode, quiet=False) as decoder,
        ThreadPoolExecutor() as threads,
    ):
        waiting = threads.submit(refusal, decoder, slow)
        wait_for_the_hang(lines)
        assert not decoder.make_way(other, share_s=0)
        assert not decoder.make_way(slow, share_s=600)
        with pytest.raises(TimeoutError):
            waiting.result(0.2)
        assert decoder.make_way(slow, share_s=0)
        error = waiting.result(30)
        assert not decoder.make_way(slow, share_s=0)
        assert outcome(decoder, HEALTHY) == outcome(processes, HEALTHY)
    assert (error.status, error.decoder_broke) == (ItemStatus.DETECTOR_FAILED, False)
    assert error.reason == "ended after its share of the time, because others waited"


@posix_only
def test_no_process_outlives_its_program():
    """When the program is killed, processes that wait, run Python, sleep or are in native code end at once.

    A medium has an hour here, so that nothing else ends them.
    """
    program = PROGRAM.format(path=sys.path, healthy=HEALTHY)
    with subprocess.Popen(
        [sys.executable, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as killed:
        killed.stdin.write(program)
        killed.stdin.close()
        assert killed.stdout.readline() == "160\n"
        workers = [psutil.Process(int(pid)) for pid in killed.stdout.readline().split()]
        assert len(workers) == 4
        for _ in range(3):
            assert killed.stderr.readline() == "hanging\n"
        killed.kill()
    assert psutil.wait_procs(workers, timeout=20)[1] == []


@posix_only
def test_a_process_that_is_still_starting_does_not_outlive_its_program():
    """Killed right after its processes were started, while they import what decodes."""
    program = PROGRAM.partition("print(")[0].format(path=sys.path) + (
        "decoder.start()\n"
        "print(*[child.pid for child in psutil.Process().children()], flush=True)\n"
        "threading.Event().wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as killed:
        workers = [psutil.Process(int(pid)) for pid in killed.stdout.readline().split()]
        assert len(workers) == 4
        killed.kill()
    assert psutil.wait_procs(workers, timeout=20)[1] == []
