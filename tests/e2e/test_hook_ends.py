"""The hook's and the worker's processes are ended, politely or not, with uploads in hand."""

from __future__ import annotations

import importlib.util
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.admin import Admin, eventually, free_port, stop
from support.media.pictures import encode, gradient, plasma
from support.web.pictrs_client import ask, get

from lemmy_safety.fingerprints import sha256_of
from lemmy_safety.ledger import UploadAnswer, open_ledger, sqlite_url

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals to other processes are POSIX here"),
]

DETECTORS = "hashes,nudenet" if importlib.util.find_spec("nudenet") else "hashes"
KEY = "an-example-of-a-key"


def ready(port: int, process) -> None:
    def is_ready() -> bool:
        try:
            return get(port, "/ready").status == 200
        except OSError:
            return False

    eventually(is_ready, "it is ready", process=process)


def metric(port: int, line: str) -> float:
    shown = get(port, "/metrics").body.decode().splitlines()
    return next(float(one.split()[-1]) for one in shown if one.startswith(f"lemmy_safety_hook_{line} "))


def wide_pictures(count: int) -> list[bytes]:
    """Each is looked at eleven times, so that a model is at work when the stop comes."""
    return [encode(plasma(1600, 240, seed=number), "webp") for number in range(count)]


def test_what_was_accepted_unchecked_is_on_record_before_the_answer_leaves(tmp_path):
    """The process is killed in the middle: of each upload that pict-rs was told to keep there is a record."""
    port = free_port()
    admin = Admin(tmp_path, {"LEMMY_SAFETY_DETECTORS": "hashes", "HOOK_PORT": str(port), "HOOK_QUEUE": "1"})
    process = admin.start("serve")
    ready(port, process)
    accepted: list[bytes] = []
    enough = threading.Event()

    def go_on_asking(caller: int) -> None:
        number = 0
        try:
            while True:
                data = encode(gradient(seed=1000 * caller + number), "png")
                if ask(port, data).status == 200:
                    accepted.append(data)
                number += 1
                if len(accepted) >= 40:
                    enough.set()
        except OSError:
            return  # it was killed

    with ThreadPoolExecutor(8) as pool:
        for caller in range(8):
            pool.submit(go_on_asking, caller)
        assert enough.wait(60)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with open_ledger(sqlite_url(tmp_path / "lemmy_safety.db")) as ledger:
        listed = {row.sha256 for row in ledger.uploads.unchecked()}
        rows = [ledger.uploads.get(sha256_of(data)) for data in accepted]
    assert all(row is not None for row in rows)
    assert {row.sha256 for row in rows if row.assessment is None or row.assessment.verdict is None} <= listed
    assert listed
    again = admin.start("serve")
    ready(port, again)
    assert metric(port, "unchecked_open") == len(listed)
    assert stop(again)[0] == 0


def test_a_hook_that_is_stopped_while_a_model_computes_ends_well(tmp_path):
    """Within five seconds and with exit code 0; anyone who waits gets an answer, and it is on record."""
    port = free_port()
    admin = Admin(tmp_path, {"LEMMY_SAFETY_DETECTORS": DETECTORS, "HOOK_PORT": str(port), "HOOK_BUDGET_S": "60"})
    process = admin.start("serve")
    ready(port, process)
    pictures = wide_pictures(24)
    with ThreadPoolExecutor(24) as pool:
        asked = [pool.submit(ask, port, data) for data in pictures]
        eventually(lambda: metric(port, "queue_length") > 10, "uploads are being judged", process=process)
        code, seconds = stop(process)
        statuses = [one.result().status for one in asked]
    assert code == 0, admin.log()
    assert seconds < 5
    # The last ones may have come after the stop, and are refused.
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) > 10
    with open_ledger(sqlite_url(tmp_path / "lemmy_safety.db")) as ledger:
        rows = [
            ledger.uploads.get(sha256_of(data))
            for data, status in zip(pictures, statuses, strict=True)
            if status == 200
        ]
    assert {row.answer for row in rows} <= {UploadAnswer.ACCEPTED, UploadAnswer.UNCHECKED}
    assert all(row.assessment.verdict is not None for row in rows if row.answer is UploadAnswer.ACCEPTED)


def test_a_worker_that_is_stopped_with_uploads_in_hand_ends_well(tmp_path):
    """Within five seconds and with exit code 0; pict-rs gets its answers from the next worker, or by the relay's setting."""
    port, folders = free_port(), [tmp_path / name for name in ("relay", "first", "second")]
    for folder in folders:
        folder.mkdir()
    relay = Admin(folders[0], {"HOOK_PORT": str(port), "HOOK_BUDGET_S": "20", "RELAY_APIKEY": KEY})
    workers = [
        Admin(
            folder,
            {
                "LEMMY_SAFETY_DETECTORS": DETECTORS,
                "PICTRS_SAFETY_URL": f"http://127.0.0.1:{port}",
                "PICTRS_SAFETY_APIKEY": KEY,
            },
        )
        for folder in folders[1:]
    ]
    serving, working = relay.start("serve", "--relay"), workers[0].start("worker")
    ready(port, serving)
    pictures = wide_pictures(16)
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(ask, port, data) for data in pictures]
        eventually(lambda: 0 < metric(port, "queue_length") < 14, "some were judged", process=working)
        code, seconds = stop(working)
        assert code == 0, workers[0].log()
        assert seconds < 5
        next_one = workers[1].start("worker")
        assert {one.result().status for one in asked} == {200}
    for process in (next_one, serving):
        assert stop(process)[0] == 0
    with open_ledger(sqlite_url(folders[0] / "lemmy_safety.db")) as ledger:
        rows = [ledger.uploads.get(sha256_of(data)) for data in pictures]
    assert all(
        (row.assessment is not None and row.assessment.verdict is not None) or row.answer is UploadAnswer.UNCHECKED
        for row in rows
    )
