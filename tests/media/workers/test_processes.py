"""A decoding process: how it starts, what it loads, and what it keeps to itself."""

from __future__ import annotations

import sys
import threading
import types

import pytest
from support.media.breaking_decoders import break_or_decode
from support.media.decoder_processes import (
    HEALTHY,
    linux_only,
    posix_only,
    process_decoder,
    refusal,
)

from lemmy_safety.errors import WorkerDied


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


def test_starting_early_loses_nothing():
    """The wiring starts the processes while models load; callers that come meanwhile wait for them."""
    with process_decoder(workers=2) as decoder:
        starter = threading.Thread(target=decoder.start)
        starter.start()
        decoder.start()
        assert decoder.decode(HEALTHY).info.width == 160
        starter.join()


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
