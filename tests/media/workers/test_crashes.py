"""A broken process costs the one medium that broke it."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from support.media import pictures
from support.media.breaking_decoders import break_or_decode, show_and_break
from support.media.decoder_processes import (
    HEALTHY,
    linux_only,
    outcome,
    pid_of,
    posix_only,
    process_decoder,
    refusal,
)

from lemmy_safety.media import decoding
from lemmy_safety.media.workers.process import describe_exit
from lemmy_safety.records import AnomalyKind, ItemStatus

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


@pytest.mark.parametrize(
    ("code", "text"),
    [(-11, "crashed (signal 11)"), (3, "crashed (exit code 3)"), (0xC0000005, "crashed (exit code 0xc0000005)")],
)
def test_ends_are_described_for_a_person(code, text):
    """A signal by its number, a small code in decimal, one of Windows as Windows lists it."""
    assert describe_exit(code) == text
