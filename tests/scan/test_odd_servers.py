"""Passes over servers that list wrongly, damage what they send, or tell no times: every object is judged, by its own bytes.

On a server in memory that has such habits, since no real one of them runs here (see ``support.storage.odd_s3``).
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from support.media.pictures import encode, gradient
from support.scan.passes import scanner_over
from support.storage.odd_s3 import OddS3, by_hash, odd_storage

from lemmy_safety.scan import PassRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lemmy_safety.scan import PassSummary

pytestmark = pytest.mark.external_service

EVERYTHING = PassRequest(kind="all")


def picture(seed: int) -> bytes:
    return encode(gradient(seed=seed), "png")


def a_store(**habits) -> OddS3:
    server = OddS3(**habits)
    for number in range(5):
        server.put(f"{number}.png", picture(number))
    return server


@contextmanager
def passes_over(tmp_path: Path, server: OddS3) -> Iterator[Callable[..., PassSummary]]:
    """Runs a pass, over everything unless another request is given."""
    with (
        odd_storage(server) as (storage, _),
        scanner_over(tmp_path, tmp_path / "ledger.sqlite", storage=storage, action=None) as scanner,
    ):
        yield lambda request=EVERYTHING: scanner.run(request)


def judged(tmp_path: Path, server: OddS3) -> PassSummary:
    with passes_over(tmp_path, server) as run:
        return run()


def wrongly_sized(size: str):
    return lambda key, fields: fields | ({"Size": size} if key == "3.png" else {})


@pytest.mark.parametrize("size", ["1", "0", "900000", "500000000", "-7", "much"])
def test_an_object_that_is_listed_with_a_wrong_size_is_judged(tmp_path: Path, size: str) -> None:
    """Its own description decides, not the listing's."""
    summary = judged(tmp_path, a_store(entry=wrongly_sized(size)))
    assert (summary.checked, summary.failed, summary.unreadable) == (5, {}, {})


def test_an_object_that_always_arrives_damaged_is_tried_again(tmp_path: Path) -> None:
    """A page of another server in its place: it fails, the others are judged, the pass is complete."""
    server = a_store(body=lambda key, data: b"<html>Please sign in</html>" if key == "3.png" else data)
    with passes_over(tmp_path, server) as run:
        summary = run()
        assert (summary.checked, summary.failed, summary.complete) == (4, {"fetch_failed": 1}, True)
        server.body = lambda _key, data: data
        later = run(PassRequest(kind="daemon", since=datetime.now(UTC)))
        assert (later.checked, later.failed) == (1, {})


def test_no_object_of_an_encrypted_bucket_stays_unjudged(tmp_path: Path) -> None:
    """Its tags are no MD5; that is said in the summary."""
    tag = {"ETag": "&quot;" + "0123456789abcdef" * 2 + "&quot;"}
    server = a_store(
        entry=lambda _key, fields: fields | tag,
        headers=lambda _m, _k, sent: sent | {"ETag": tag["ETag"].replace("&quot;", '"')},
    )
    summary = judged(tmp_path, server)
    assert summary.checked == 5
    assert "MD5" in summary.notes[0]
    assert summary.as_dict()["notes"] == list(summary.notes)


@pytest.mark.parametrize("time", ["1970-01-01T00:00:00.000Z", "0001-01-01T00:00:00Z", "yesterday", None])
def test_objects_of_unknown_time_are_judged_by_the_first_daemon_pass(tmp_path: Path, time: str | None) -> None:
    """They may be new; and once they are known, they are not read again."""

    def entry(_key: str, fields: dict[str, str]) -> dict[str, str]:
        return {name: text for name, text in (fields | {"LastModified": time}).items() if text is not None}

    request = PassRequest(kind="daemon", since=datetime.now(UTC) - timedelta(minutes=5), exhaustive=False)
    with passes_over(tmp_path, a_store(entry=entry)) as run:
        assert run(request).checked == 5
        again = run(request)
        assert (again.checked, again.skipped) == (0, 5)


def test_a_server_with_an_order_of_its_own_is_said_in_the_summary(tmp_path: Path) -> None:
    """Complete, every object judged once, and the admin knows why it is slow."""
    server = OddS3(order=by_hash, most_keys=10)
    for number in range(40):
        server.put(f"{number}.png", picture(number % 5))
    summary = judged(tmp_path, server)
    assert (summary.seen, summary.checked, summary.complete) == (40, 40, True)
    assert "order of its own" in summary.notes[0]


@pytest.mark.parametrize("encodes", ["asked", "never", "silently"])
def test_no_key_looks_gone_however_the_server_writes_it(tmp_path, encodes) -> None:
    """In no pass; a server that encodes keys without saying so is named in the summary."""
    server = OddS3(encodes=encodes)
    for number, key in enumerate(("a b.png", "100% sure.png", "a%20b.png", "\u00e9.png", "01/x.png")):
        server.put(key, picture(number))
    with passes_over(tmp_path, server) as run:
        first, second = run(), run()
    assert (first.checked, first.unreadable, first.failed) == (5, {}, {})
    assert (second.skipped, second.unreadable, second.failed) == (5, {}, {})
    assert any("url-encodes keys" in note for note in first.notes) == (encodes == "silently")
