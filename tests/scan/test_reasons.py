"""What a pass says of the objects that it could not judge: in the log and in its summary."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import pytest
from support.media.breaking_decoders import break_or_decode
from support.scan.passes import WatchedStorage, put, scanner_over
from support.scan.scanned_store import SWEEP

from lemmy_safety.errors import StorageError
from lemmy_safety.fingerprints import sha256_of
from lemmy_safety.media import MediaLimits
from lemmy_safety.media.workers.pool import ProcessDecoder
from lemmy_safety.records import Assessment, ItemResult, ItemStatus, StoredObject
from lemmy_safety.scan.progress import PassCounter, Reason
from lemmy_safety.scan.stages.decode import decode

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

LIMITS = MediaLimits(max_bytes=8 * 1024 * 1024, max_pixels=1_000_000)


@posix_only
@pytest.mark.parametrize("how", [b"sleep", b"loop", b"fill slowly"])
def test_the_log_names_the_object_on_which_a_decoder_broke(caplog, how) -> None:
    """A warning with key and reason, escaped, so that an admin can find the file."""
    decoder = ProcessDecoder(LIMITS, workers=1, timeout_s=3, memory_bytes=256 * 1024 * 1024, decode=break_or_decode)
    with decoder, caplog.at_level(logging.WARNING, logger="lemmy_safety.scan"):
        sample = decode(decoder, how, sha256=sha256_of(how), key="01/aa/odd\n.png")
    assert sample.refusal.decoder_broke
    (line,) = [record.getMessage() for record in caplog.records if record.name == "lemmy_safety.scan.stages.decode"]
    assert line == f"the decoder broke key='01/aa/odd\\n.png' reason={sample.refusal.reason}"


def counted(*results: tuple[str, ItemStatus, str]) -> dict[str, Reason]:
    counter = PassCounter()
    for key, status, reason in results:
        obj = StoredObject(key=key, size=1, modified_at=datetime(2026, 1, 1, tzinfo=UTC))
        counter.add_result(ItemResult(obj=obj, assessment=Assessment(status=status, reason=reason)))
    return dict(counter.snapshot(1.0).reasons)


@pytest.mark.parametrize("status", [status for status in ItemStatus if status not in {"checked", "gone", "variant"}])
def test_the_commonest_reason_of_each_status_is_kept(status) -> None:
    """Keys and numbers within it make no other reason; what is shown is the text of one object."""
    reasons = counted(
        ("a.png", status, "a.png: another fault"),
        ("b.png", status, "b.png took 31 s"),
        ("c.png", status, "c.png took 47 s"),
        ("d.png", ItemStatus.GONE, "vanished"),
    )
    assert reasons == {status.value: Reason("b.png took 31 s", 2)}


def test_endless_different_reasons_take_no_endless_memory() -> None:
    """What is counted first is kept, and goes on being counted."""
    letters = ["".join(chr(97 + number // 26**place % 26) for place in range(3)) for number in range(3000)]
    results = [("k", ItemStatus.DENIED, f"reason {word}") for word in letters]
    counter = PassCounter()
    for _, status, reason in [*results, results[0]]:
        obj = StoredObject(key="", size=1, modified_at=datetime(2026, 1, 1, tzinfo=UTC))
        counter.add_result(ItemResult(obj=obj, assessment=Assessment(status=status, reason=reason)))
    assert counter.snapshot(1.0).reasons == {"denied": Reason("reason aaa", 2)}
    assert sum(map(len, counter._reasons.values())) < len(results)


def test_a_pass_says_why_reads_failed_and_the_debug_log_names_each(store, database, caplog) -> None:
    """The summary has the reason, its JSON too, and the log every key with its own."""
    storage = WatchedStorage(store)
    put(store, "bad/one.png", b"x")
    put(store, "bad/two.png", b"y")
    for key in ("bad/one.png", "bad/two.png"):
        storage.refused[key] = StorageError(f"{key}: the disk's own fault 5")
    put(store, "bad/text.png", b"no picture")
    with (
        caplog.at_level(logging.DEBUG, logger="lemmy_safety.scan.stages.record"),
        scanner_over(store, database, storage=storage) as scanner,
    ):
        summary = scanner.run(SWEEP)
    assert summary.failed == {"fetch_failed": 2}
    assert summary.reasons["fetch_failed"].number == 2
    assert "the disk's own fault 5" in summary.reasons["fetch_failed"].text
    assert summary.as_dict()["reasons"]["unreadable"]["number"] == 1
    said = [record.getMessage() for record in caplog.records if record.name == "lemmy_safety.scan.stages.record"]
    assert [sum(key in line for line in said) >= 1 for key in ("bad/one.png", "bad/two.png", "bad/text.png")] == [
        True
    ] * 3
    assert any("status=fetch_failed reason=bad/one.png: the disk's own fault 5" in line for line in said)
