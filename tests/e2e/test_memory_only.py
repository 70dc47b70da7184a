"""The first promise: no image byte is written to the scanning machine, whichever way it got there."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psutil
from support.admin import Admin, eventually, free_port
from support.media import moving_pictures
from support.scan.passes import put
from support.storage.sample_store import sample_pictures
from support.traces import files_written, strace_or_skip, traced, traced_program
from support.web import pictrs_client

from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.ledger import open_ledger, sqlite_url

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

DETECTORS = "hashes,nudenet" if importlib.util.find_spec("nudenet") else "hashes"
KEY = "an-example-of-a-key"
DATABASE = {f"lemmy_safety.db{end}" for end in ("", "-wal", "-shm", "-journal")}


def watched(folder: Path, **settings: str) -> tuple[Admin, Path]:
    folder.mkdir()
    trace = folder.with_suffix(".trace")
    environment = {"LEMMY_SAFETY_DETECTORS": DETECTORS, "PYTHONDONTWRITEBYTECODE": "1", **settings}
    return Admin(folder, environment, prefix=traced(trace)), trace


def assert_only_the_database(trace: Path, folder: Path) -> None:
    written = files_written(trace, folder)
    assert {path.name for path in written} <= DATABASE
    assert {path.parent for path in written} == {folder}


@functools.cache  # a video encoded again has other bytes
def uploads() -> list[tuple[bytes, str]]:
    """Stills, a video, the canary, what no one can read and what is too large."""
    video = moving_pictures.video(moving_pictures.drifting(12, size=(320, 240)), moving_pictures.CODECS["webm vp9"])
    stills = [(data, "image/jpeg") for _, data in sample_pictures(8, seed=3)]
    others = [(canary_png(), "image/png"), (b"no picture at all", "image/gif"), (bytes(3_000_000), "image/png")]
    return [*stills, (video, "video/webm"), *others]


def ask_about_all(port: int) -> list[int]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda one: pictrs_client.ask(port, one[0], media_type=one[1]).status, uploads()))


def ready(port: int, process: subprocess.Popen[str]) -> None:
    def is_ready() -> bool:
        try:
            return pictrs_client.get(port, "/ready").status == 200
        except OSError:
            return False

    eventually(is_ready, "it is ready", process=process)


def assert_no_core_dumps(process: subprocess.Popen[str]) -> None:
    """A crash of any of its processes leaves no memory on a disk: a limit of one byte, or none, as ``core(5)`` has it."""
    program = traced_program(process.pid)
    for one in (program, *program.children(recursive=True)):
        assert max(one.rlimit(psutil.RLIMIT_CORE)) <= 1, one.cmdline()


def end(process: subprocess.Popen[str]) -> None:
    traced_program(process.pid).send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def test_a_sweep_writes_its_database_and_nothing_else(tmp_path):
    """Every file that a sweep opens for writing, creates or renames, seen by the kernel, is the ledger's."""
    strace_or_skip()
    root = tmp_path / "files"
    for key, data in sample_pictures(40, seed=3):
        put(root, key, data)
    put(root, "2/0/1/canary", canary_png())
    admin, trace = watched(tmp_path / "work", PICTRS_FILES_DIRECTORY=str(root))
    summary = admin.json("--all", "--dry-run")
    assert (summary["checked"], summary["flagged"]) == (41, 1)
    assert_only_the_database(trace, admin.folder)


def test_the_hook_writes_its_database_and_nothing_else(tmp_path):
    """Whatever is uploaded, and with a stop at the end."""
    strace_or_skip()
    port = free_port()
    admin, trace = watched(tmp_path / "work", HOOK_PORT=str(port), HOOK_BUDGET_S="60", LEMMY_SAFETY_MAX_MB="2")
    process = admin.start("serve")
    ready(port, process)
    assert ask_about_all(port) == [*[200] * 9, 406, 200, 413], admin.log()
    assert_no_core_dumps(process)
    end(process)
    assert_only_the_database(trace, admin.folder)


def test_relay_and_worker_write_their_databases_and_nothing_else(tmp_path):
    """The commands of both halves, without a folder in common."""
    strace_or_skip()
    port = free_port()
    more = {"LEMMY_SAFETY_MAX_MB": "2"}
    relay, relay_trace = watched(tmp_path / "relay", HOOK_PORT=str(port), HOOK_BUDGET_S="60", RELAY_APIKEY=KEY, **more)
    home, home_trace = watched(tmp_path / "home", PICTRS_SAFETY_APIKEY=KEY, **more)
    serving = relay.start("serve", "--relay")
    working = home.start("worker", "--url", f"http://127.0.0.1:{port}")
    ready(port, serving)
    assert ask_about_all(port) == [*[200] * 9, 406, 200, 413], relay.log() + home.log()
    for process in (working, serving):
        assert_no_core_dumps(process)
        end(process)
    assert_only_the_database(relay_trace, relay.folder)
    assert_only_the_database(home_trace, home.folder)
    for admin in (relay, home):
        with open_ledger(sqlite_url(admin.folder / "lemmy_safety.db")) as ledger:
            known = [ledger.uploads.get(hashlib.sha256(data).hexdigest()) for data, _ in uploads()[:10]]
        assert all(row is not None and row.assessment.verdict is not None for row in known)
