"""Decoding in processes gives what decoding inline gives, and a broken process costs the one medium that broke it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
from support.media import pictures
from support.media.breaking_decoders import break_or_decode, show_and_break

from lemmy_safety.errors import MediaError, WorkerDied
from lemmy_safety.media import InlineDecoder, MediaLimits, decoding
from lemmy_safety.media.workers import process
from lemmy_safety.media.workers.pool import ProcessDecoder
from lemmy_safety.media.workers.process import describe_exit
from lemmy_safety.records import AnomalyKind, ItemStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.media import Decoder

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds processes to such a limit")

LIMITS = MediaLimits(max_bytes=8 * 1024 * 1024, max_pixels=1_000_000)
MEMORY = 256 * 1024 * 1024
HEALTHY = pictures.encode(pictures.shapes(seed=1), "png")


def process_decoder(workers: int = 1, timeout_s: float = 30.0, **options) -> ProcessDecoder:
    return ProcessDecoder(LIMITS, workers=workers, timeout_s=timeout_s, memory_bytes=MEMORY, **options)


@pytest.fixture(scope="module")
def inline() -> InlineDecoder:
    return InlineDecoder(LIMITS)


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessDecoder]:
    """Three, each of which gives a medium three seconds."""
    with process_decoder(workers=3, timeout_s=3, decode=break_or_decode) as decoder:
        yield decoder


@pytest.fixture(params=["inline", pytest.param("processes", marks=pytest.mark.process)])
def decoder(request) -> Decoder:
    """Either decoder."""
    return request.getfixturevalue(request.param)


def outcome(decoder: Decoder, data: bytes) -> object:
    """What came of a medium, as something that can be compared."""
    try:
        media = decoder.decode(data)
    except MediaError as error:
        return (error.status, error.reason, error.decoder_broke)
    return (
        media.info,
        [(f.index, f.at_s, f.view, f.plain, f.pixels.shape, f.pixels.tobytes()) for f in media.frames],
    )


def refusal(decoder: Decoder, data: bytes) -> MediaError:
    with pytest.raises(MediaError) as caught:
        decoder.decode(data)
    return caught.value


def pid_of(decoder: ProcessDecoder) -> int:
    """The process that answers next, where there is one."""
    return int(refusal(decoder, b"pid").reason)


SAME = {
    **{name: pictures.encode(pictures.photo("chelsea"), name) for name in pictures.STILL_FORMATS},
    **{
        f"animated {name}": pictures.encode_animation([pictures.shapes(seed=n) for n in range(3)], name)
        for name in ("gif", "webp")
    },
    "turned": pictures.with_orientation(pictures.quarters(), 6),
    "wide": pictures.encode(pictures.shapes(600, 100), "png"),
    "truncated": pictures.truncated(pictures.encode(pictures.photo("coffee"), "jpeg"), 0.6),
    "appended": HEALTHY + b"PK\x03\x04 and so on",
    "empty": b"",
    "text": b"no picture at all",
    "bomb": pictures.png_bomb(),
    "beheaded": pictures.truncated(HEALTHY, 0.05),
    "too many bytes": HEALTHY + bytes(LIMITS.max_bytes),
}


@pytest.mark.parametrize("data", SAME.values(), ids=SAME)
def test_both_decoders_say_the_same(inline, processes, data):
    """Healthy, damaged and refused files: same frames, same facts, same refusals."""
    assert outcome(processes, data) == outcome(inline, data)


LOST = {
    b"segfault": "crashed (signal 11",
    b"kill": "crashed (signal 9",
    b"exit": "crashed (exit code 3)",
    b"loop": "timed out after 3 s",
    b"hold the interpreter": "timed out after 3 s",
    b"allocate without end": "out of memory",
    b"reserve": "out of memory",
    b"fail": "fault in the decoder: ZeroDivisionError",
    b"print": "still here",
}


@posix_only
@pytest.mark.parametrize("command", LOST)
def test_what_is_inside_a_picture_costs_the_picture_nothing(command):
    """Whatever looking at the rest of a file does to its process, the file is judged by what it shows, and that is said."""
    with process_decoder(timeout_s=3, decode=show_and_break) as decoder:
        media = decoder.decode(command)
    (frame,) = media.frames
    assert frame.pixels.shape == (256, 256, 3)
    assert len(media.pdqs) == 1
    (anomaly,) = media.info.anomalies
    assert anomaly.kind is AnomalyKind.FRAMES_LEFT_OUT
    assert anomaly.detail.startswith("other content of the file was not checked: ")
    assert LOST[command] in anomaly.detail


@pytest.mark.parametrize("broken", [MemoryError(), ZeroDivisionError("a fault of ours")])
def test_a_fault_inside_a_picture_costs_the_picture_nothing_inline(inline, monkeypatch, broken):
    """The same holds where there is no process to lose."""

    def fail(*_):
        raise broken

    monkeypatch.setattr(decoding, "find_hidden", fail)
    media = inline.decode(HEALTHY)
    assert len(media.frames) == len(media.pdqs) == 1
    assert [anomaly.kind for anomaly in media.info.anomalies] == [AnomalyKind.FRAMES_LEFT_OUT]


def test_frames_are_as_the_contract_says(decoder):
    """Frames are C-contiguous RGB bytes."""
    media = decoder.decode(pictures.encode(pictures.quarters(), "png"))
    for frame in media.frames:
        assert frame.pixels.dtype == np.uint8
        assert frame.pixels.ndim == 3
        assert frame.pixels.flags.c_contiguous
    assert media.frames[0].pixels[0, 0].tolist() == [255, 0, 0]


def test_a_decoder_is_asked_from_many_threads(decoder):
    """Each of more callers than there are processes gets the answer to its own medium."""
    files = [pictures.encode(pictures.gradient(40 + n, 30, seed=n), "png") for n in range(24)]
    with ThreadPoolExecutor(6) as threads:
        widths = list(threads.map(lambda data: decoder.decode(data).info.width, files))
    assert widths == [40 + n for n in range(24)]


def test_the_version_changes_with_what_can_cost_a_medium_its_decoding(inline):
    """What timed out under other limits is read again; the rest of the text is that of inline decoding."""
    versions = set()
    for timeout_s, memory in ((30, MEMORY), (60, MEMORY), (30, 2 * MEMORY)):
        with ProcessDecoder(LIMITS, workers=1, timeout_s=timeout_s, memory_bytes=memory) as decoder:
            assert decoder.version.startswith(inline.version)
            versions.add(decoder.version)
    assert len(versions) == 3


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"timeout_s": 0.0}])
def test_limits_of_nothing_are_refused(wrong):
    """No process and no time are mistakes of the caller."""
    with pytest.raises(ValueError, match="at least one"):
        process_decoder(**wrong)


CRASHES = {
    b"segfault": "crashed (signal 11)",
    b"abort": "crashed (signal 6)",
    b"exit": "crashed (exit code 3)",
    b"leave": "crashed (exit code 1)",
    b"kill": "crashed (signal 9: killed from outside, most likely by the system because memory ran out)",
    b"close the answers": "closed its pipe",
    b"nonsense": "its answer makes no sense (UnpicklingError: posix.system is not part of an answer)",
}


@posix_only
@pytest.mark.parametrize(("command", "reason"), CRASHES.items(), ids=lambda value: str(value)[:12])
def test_a_crash_is_said_and_the_process_replaced(processes, capfd, command, reason):
    """A process that ends, however it does, makes its medium unreadable; the next one is decoded."""
    error = refusal(processes, command)
    assert (error.status, error.reason, error.decoder_broke) == (ItemStatus.UNREADABLE, reason, True)
    assert processes.decode(HEALTHY).info.width == 160
    assert "taken over" not in capfd.readouterr().err


@posix_only
def test_a_hang_is_ended(processes):
    """A loop, a sleep and a hang that lets no other thread run, all at once, each cost their medium."""
    with ThreadPoolExecutor(3) as threads:
        hung = list(threads.map(lambda how: refusal(processes, how), [b"loop", b"sleep", b"hold the interpreter"]))
    assert [error.reason for error in hung] == ["timed out after 3 s"] * 3
    assert all(error.decoder_broke and error.status is ItemStatus.UNREADABLE for error in hung)
    assert processes.decode(HEALTHY).info.width == 160


@pytest.mark.parametrize(
    "command",
    [
        b"allocate without end",
        b"fill slowly",
        pytest.param(b"reserve", marks=linux_only),
        pytest.param(b"reserve and take it for damage", marks=linux_only),
    ],
)
def test_an_endless_allocation_is_ended(processes, command):
    """Memory that is used up is seen from outside; a reservation far over the limit is refused inside."""
    error = refusal(processes, command)
    assert (error.status, error.decoder_broke) == (ItemStatus.UNREADABLE, True)
    assert error.reason == "out of memory (limit 256 MiB)"
    assert processes.decode(HEALTHY).info.width == 160


def test_a_fault_of_the_decoder_is_logged_where_somebody_reads_it(processes, caplog):
    """An unexpected exception costs the medium, keeps the process, and its traceback is in the log of the program."""
    with caplog.at_level(logging.ERROR):
        error = refusal(processes, b"fail")
    assert (error.status, error.decoder_broke) == (ItemStatus.UNREADABLE, True)
    assert error.reason == "fault in the decoder: ZeroDivisionError"
    assert "in _fail" in caplog.text


@posix_only
def test_neighbours_are_judged_as_if_nothing_had_happened(inline, processes):
    """Of many media at once only those that break something get anything but their own frames."""
    healthy = [pictures.encode(pictures.shapes(60 + n, 50, seed=n), "png") for n in range(30)]
    media: list[bytes] = []
    for number, data in enumerate(healthy):
        media += [data, *([list(CRASHES)[number // 6]] if number % 6 == 0 else [])]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda data: outcome(processes, data), media))
    for data, seen in zip(media, found, strict=True):
        expected = (ItemStatus.UNREADABLE, CRASHES[data], True) if data in CRASHES else outcome(inline, data)
        assert seen == expected


def test_one_process_decodes_many_media_until_it_keeps_too_much():
    """A process stays while it is healthy; one that does not give memory back is replaced."""
    with process_decoder(decode=break_or_decode) as decoder:
        first = pid_of(decoder)
        decoder.decode(HEALTHY)
        assert int(refusal(decoder, b"leak").reason) == first
        assert pid_of(decoder) != first


@posix_only
def test_a_process_that_dies_between_two_media_is_nobodys_fault():
    """The system may end a process that does nothing; the next medium gets a new one."""
    with process_decoder(decode=break_or_decode) as decoder:
        first = psutil.Process(pid_of(decoder))
        first.kill()
        first.wait(10)
        assert pid_of(decoder) != first.pid


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


def test_a_process_loads_the_media_room_and_nothing_else(processes):
    """No model, no storage, no database, and not the program's own main module."""
    loaded = set(refusal(processes, b"modules").reason.split())
    ours = {name.split(".")[1] for name in loaded if name.startswith("lemmy_safety.")}
    small = {
        "fingerprints", "lifeline", "records", "errors", "foreign", "url_logins", "installing", "packages", "shortages",
    }  # fmt: skip
    assert ours == {"media", *small}
    assert not {name.partition(".")[0] for name in loaded} & {
        "boto3", "botocore", "click", "paramiko", "pytest", "_pytest", "sqlalchemy", "torch", "torchvision", "psutil",
    }  # fmt: skip


@linux_only
def test_a_process_keeps_one_core_busy(processes):
    """One thread decodes and one waits for the pipe: libraries start none of their own, however many cores there are."""
    assert refusal(processes, b"threads").reason == "2"


@posix_only
def test_a_crash_leaves_no_picture_on_a_disk(processes):
    """Core dumps are off: none to a file, none to a collecting program."""
    assert int(refusal(processes, b"core limit").reason) <= 1


def test_what_libraries_print_does_not_reach_anybody(processes, capfd):
    """Neither the answers nor the person at the terminal are disturbed by a decoder's chatter."""
    assert refusal(processes, b"print").reason == "still here"
    assert capfd.readouterr() == ("", "")


def test_chatter_is_shown_when_asked_for(capfd):
    """With --debug, what libraries complain about is on the error stream; what they print is still discarded."""
    with process_decoder(decode=break_or_decode, quiet=False) as decoder:
        assert refusal(decoder, b"print").reason == "still here"
    out, err = capfd.readouterr()
    assert out == ""
    assert "known incorrect sRGB profile" in err


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


@contextmanager
def error_stream():
    """The error stream of processes that start meanwhile, as it is written. (What capfd reads while others write, it loses.)"""
    read_end, write_end = os.pipe()
    ours = os.dup(2)
    os.dup2(write_end, 2)
    os.close(write_end)
    try:
        with os.fdopen(read_end, encoding="utf-8") as lines:
            yield lines
    finally:
        os.dup2(ours, 2)
        os.close(ours)


def wait_for_the_hang(lines):
    """Until a decoder says that it is about to."""
    while "hanging" not in lines.readline():
        pass


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


def test_processes_that_cannot_start_end_the_run(monkeypatch):
    """That nothing can be decoded is said as what it is, and not of every object that it is unreadable."""
    with monkeypatch.context() as patched, process_decoder() as decoder:
        patched.setattr(sys, "executable", sys.executable + "-that-is-not-there")
        with pytest.raises(WorkerDied, match="No decoding process can be started: FileNotFoundError"):
            decoder.decode(HEALTHY)
        patched.undo()
        assert decoder.decode(HEALTHY).info.width == 160


def test_a_process_that_fails_while_it_starts_ends_the_run(monkeypatch):
    """What a process cannot import is no fault of the medium that it would have decoded."""
    only_here = types.ModuleType("only_here")
    exec("def job(data, limits): ...", only_here.__dict__)  # noqa: S102 - a function of a module without a file
    monkeypatch.setitem(sys.modules, "only_here", only_here)
    said = r"No decoding process can be started: crashed \(exit code 1\)"
    with process_decoder(decode=only_here.job) as decoder, pytest.raises(WorkerDied, match=said):
        decoder.decode(HEALTHY)


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


@pytest.mark.parametrize(
    ("code", "text"),
    [(-11, "crashed (signal 11)"), (3, "crashed (exit code 3)"), (0xC0000005, "crashed (exit code 0xc0000005)")],
)
def test_ends_are_described_for_a_person(code, text):
    """A signal by its number, a small code in decimal, one of Windows as Windows lists it."""
    assert describe_exit(code) == text


def test_starting_early_loses_nothing():
    """The wiring starts the processes while models load; callers that come meanwhile wait for them."""
    with process_decoder(workers=2) as decoder:
        starter = threading.Thread(target=decoder.start)
        starter.start()
        decoder.start()
        assert decoder.decode(HEALTHY).info.width == 160
        starter.join()
