"""The storage's clock is behind or ahead, or a file is dated in the future: no upload is missed for it.

On a server in memory whose clock is wrong, which no real one here may be given (see ``support.storage.odd_s3``), and on folders.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from support.media.pictures import encode, gradient
from support.scan.passes import put, scanner_over
from support.storage.odd_s3 import OddS3, odd_storage

from lemmy_safety.daemon import Daemon, DaemonOptions
from lemmy_safety.pictrs.keys import make_key
from lemmy_safety.scan import PassRequest
from lemmy_safety.storage.s3.answers import told_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.external_service

#: A window of 20 minutes, and every key only once a day.
OPTIONS = DaemonOptions(minutes=20, interval_s=0.01, full_listing_hours=24)

OFFSETS = [timedelta(0), timedelta(hours=-1), timedelta(days=-3), timedelta(seconds=-90), timedelta(hours=2)]


def picture(seed: int) -> bytes:
    return encode(gradient(seed=seed), "png")


@contextmanager
def daemon_over(tmp_path: Path, storage) -> Iterator[Daemon]:
    stop = threading.Event()
    with scanner_over(tmp_path, tmp_path / "ledger.sqlite", storage=storage, action=None, stop=stop) as scanner:
        yield Daemon(scanner, OPTIONS, stop=stop)


class Uploads:
    """Uploads to a server: pict-rs draws the key by our clock, the server dates the object by its own."""

    def __init__(self, server: OddS3) -> None:
        self._server = server
        self._count = 0

    def __call__(self, age: timedelta = timedelta(0)) -> None:
        self._count += 1
        self.put_dated(self._server.now() - age, datetime.now(UTC) - age)

    def put_dated(self, modified_at: datetime, drawn_at: datetime) -> None:
        self._server.put(
            make_key(drawn_at, self._count, ".png"), picture(self._count), modified_at.replace(microsecond=0)
        )


@pytest.mark.parametrize("ahead", OFFSETS)
@pytest.mark.parametrize("future", [None, timedelta(minutes=30), timedelta(days=400)])
def test_every_upload_is_judged_by_the_next_daemon_pass(
    tmp_path: Path, ahead: timedelta, future: timedelta | None
) -> None:
    """Before any pass over everything, after it, and with a file that is dated in the storage's future."""
    server = OddS3(clock_ahead=ahead)
    upload = Uploads(server)
    upload(timedelta(days=10))
    if future is not None:
        upload.put_dated(server.now() + future, datetime.now(UTC) - timedelta(days=9))
    with odd_storage(server) as (storage, _), daemon_over(tmp_path, storage) as daemon:
        storage.whole_listing_up_to = 0  # as a large store
        upload()
        assert daemon.pass_once().checked == 1 + (future is not None)
        for _ in range(2):
            upload()
            assert daemon.pass_once().checked == 1


def test_an_upload_that_came_while_nothing_was_listed_is_found(tmp_path: Path) -> None:
    """A pass that lists nothing must not move on to a time which the storage's clock has yet to reach."""
    server = OddS3(clock_ahead=timedelta(hours=-1))
    upload = Uploads(server)
    with odd_storage(server) as (storage, _), daemon_over(tmp_path, storage) as daemon:
        assert daemon.pass_once().seen == 0
        upload()
        assert daemon.pass_once().checked == 1


@pytest.mark.parametrize(
    ("ahead", "words"), [(-3600, "60 minutes behind"), (-90, "90 seconds behind"), (3 * 3600, "3 hours ahead of")]
)
def test_a_difference_between_the_clocks_is_said(tmp_path: Path, ahead: int, words: str) -> None:
    """In the summary, once in the log, and no more when the clock has been set."""
    server = OddS3(clock_ahead=timedelta(seconds=ahead))
    with odd_storage(server) as (storage, _), daemon_over(tmp_path, storage) as daemon:
        (note,) = daemon.pass_once().notes
        assert note.startswith(f"{storage.name} has a clock that is {words} this machine's")
        server.clock_ahead = timedelta(seconds=3)
        assert daemon.pass_once().notes == ()


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"date": "Fri, 20 Nov 2026 10:00:00 GMT"}, datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ({"date": "Fri, 20 Nov 2026 10:00:00 GMT", "age": "500"}, None),
        ({"date": "soon"}, None),
        ({"date": "Mon, 01 Jan 99999 00:00:00 GMT"}, None),
        ({"date": ""}, None),
        ({}, None),
    ],
)
def test_an_answer_that_tells_no_time_is_not_taken_for_one(headers: dict[str, str], told: datetime | None) -> None:
    """One from a cache (Age) is of another time."""
    assert told_at({"ResponseMetadata": {"HTTPHeaders": headers}}) == told


def test_a_file_of_the_future_does_not_move_the_watermark_of_a_folder(tmp_path: Path) -> None:
    """A network file system whose server is an hour behind: what is written next is dated before our present."""
    root, hour_ago = tmp_path / "files", datetime.now(UTC) - timedelta(hours=1)
    put(root, "a.png", picture(1), modified_at=hour_ago)
    put(root, "b.png", picture(2), modified_at=datetime.now(UTC) + timedelta(days=30))
    with scanner_over(root, tmp_path / "ledger.sqlite", action=None) as scanner:
        daemon = Daemon(scanner, OPTIONS, stop=threading.Event())
        assert scanner.run(PassRequest(kind="all")).checked == 2
        put(root, "c.png", picture(3), modified_at=hour_ago + timedelta(seconds=5))
        assert daemon.pass_once().checked == 1


def test_a_watermark_of_the_future_is_taken_back(tmp_path: Path) -> None:
    """As an earlier version may have left one."""
    put(tmp_path / "files", "a.png", picture(1))
    with scanner_over(tmp_path / "files", tmp_path / "ledger.sqlite", action=None) as scanner:
        scanner.ledger.passes.set_cursor(scanner.cursors.scope, "watermark", datetime.now(UTC) + timedelta(days=1))
        Daemon(scanner, OPTIONS, stop=threading.Event()).pass_once()
        assert scanner.cursors.watermark() <= datetime.now(UTC)


def test_an_outage_at_the_first_start_leaves_no_gap_across_a_restart(tmp_path: Path) -> None:
    """From the first start on, whatever is uploaded is judged; the start is on record before the storage answers."""
    root = tmp_path / "files"
    put(root, "old.png", picture(1))
    started = datetime.now(UTC) - timedelta(hours=5)
    with scanner_over(root, tmp_path / "ledger.sqlite", action=None) as scanner:
        root.rename(tmp_path / "away")
        with pytest.raises(Exception, match="does not exist"):
            Daemon(scanner, OPTIONS, stop=threading.Event(), clock=lambda: started).pass_once()
        (tmp_path / "away").rename(root)
    put(root, "new.png", picture(2), modified_at=started + timedelta(hours=1))
    with scanner_over(root, tmp_path / "ledger.sqlite", action=None) as scanner:
        assert Daemon(scanner, OPTIONS, stop=threading.Event()).pass_once().checked == 1
