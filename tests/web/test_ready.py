"""``/ready`` on a disk that fills up: it says so before verdicts are lost, and again when there is room."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.storage.small_disk import fill, small_disk
from support.web.hook import running_hook
from support.web.pictrs_client import get

from lemmy_safety.errors import LedgerFull
from lemmy_safety.ledger import UploadAnswer, UploadResult, open_ledger, sqlite_url
from lemmy_safety.ledger.database.disk_space import LEAST_ROOM, check_room


def record(ledger, number: int) -> None:
    data = str(number).encode()
    ledger.uploads.record(
        [
            UploadResult(
                sha256=hashlib.sha256(data).hexdigest(),
                size=len(data),
                media_type="image/png",
                answer=UploadAnswer.ACCEPTED,
                reason="x" * 200,
            )
        ]
    )


def wait_for_ready(hook, status: int) -> dict[str, str]:
    """Ask until the answer has this status; an answer holds for three seconds."""
    pause = threading.Event()
    for _ in range(1000):
        answer = get(hook.port, "/ready")
        if answer.status == status:
            return json.loads(answer.body)
        pause.wait(0.01)
    raise AssertionError(f"/ready says {answer.status} {answer.body!r}, not {status}")


@pytest.mark.parametrize("recorded_before", [0, 600])
@pytest.mark.parametrize("leaving", [0, 100_000])
def test_a_full_disk_is_said_and_forgotten(tmp_path, recorded_before, leaving):
    """With a new database and with a used one, whose log SQLite writes over; with no room, and with room for a commit or two."""
    with small_disk(tmp_path / "disk", megabytes=16) as disk, running_hook(disk) as hook:
        for number in range(recorded_before):
            record(hook.ledger, number)
        filler = fill(disk, leaving=leaving)
        assert wait_for_ready(hook, 503) == {"model": "ready", "database": "failing"}
        filler.unlink()
        assert wait_for_ready(hook, 200) == {"model": "ready", "database": "writable"}
        record(hook.ledger, 10_000)


def test_the_write_that_still_succeeds_on_a_full_disk_proves_nothing(tmp_path):
    """The log has been copied into the database once, and is written over."""
    with small_disk(tmp_path / "disk", megabytes=16) as disk, open_ledger(sqlite_url(disk / "used.db")) as ledger:
        for number in range(600):
            record(ledger, number)
        fill(disk)
        record(ledger, 10_000)
        with pytest.raises(LedgerFull, match="unable to grow"):
            ledger.maintenance.check_writable()
        with pytest.raises(LedgerFull, match="disk is full"):  # noqa: PT012 - which of them it is depends on the log
            for number in range(20_000, 25_000):
                record(ledger, number)


@given(free=st.integers(0, 10 * LEAST_ROOM), total=st.one_of(st.just(0), st.integers(1, 2**60)))
def test_room_is_judged_by_what_is_left(tmp_path_factory, free, total):
    """A file system that says that its size is 0 says nothing. The figures are given, since disks of all sizes are not at hand."""
    usage = SimpleNamespace(total=total, used=total - free, free=free)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _path: usage)
        path = tmp_path_factory.getbasetemp() / "some.db"
        if total and free < LEAST_ROOM:
            with pytest.raises(LedgerFull, match=f"{free:,} bytes left"):
                check_room(path, where="here")
        else:
            check_room(path, where="here")


def test_what_cannot_be_asked_about_its_room_is_left_to_the_write(tmp_path):
    """A folder that is gone, for instance."""
    check_room(tmp_path / "gone" / "some.db", where="here")
