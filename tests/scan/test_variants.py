"""Other sizes of pictures follow the verdict on their original, and are judged when there is any doubt.

Which object is a variant of which is given here as a mapping, as pict-rs's database would tell it;
``tests/e2e/test_skip_sizes.py`` asks a real one.
"""

from __future__ import annotations

import io
import threading
from datetime import timedelta

import pytest
from PIL import Image
from support.scan.passes import LONG_AGO, WatchedStorage, keys_in, minutes_ago, put, scanner_over
from support.scan.scanned_store import SWEEP, Recognizer, canary_thumbnail, picture

from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.fingerprints import sha256_of
from lemmy_safety.ledger import DAEMON, RECHECK
from lemmy_safety.pictrs.variants import Variant
from lemmy_safety.records import ItemStatus, Outcome, Review
from lemmy_safety.scan import PassRequest
from lemmy_safety.scan.items import RecordChannel
from lemmy_safety.scan.progress import PassCounter
from lemmy_safety.scan.variants import VariantSorter


class Relations:
    """What pict-rs's database knows, and which keys it was asked about."""

    def __init__(self, originals: dict[str, str], *, fits_in: int | None = None) -> None:
        self.originals = originals
        self.fits_in = fits_in
        self.asked: list[str] = []
        self.answers_left = 1_000_000

    def __call__(self, keys):
        self.asked += keys
        self.answers_left -= 1
        if self.answers_left < 0:
            return {}
        return {
            key: Variant(original=self.originals[key], fits_in=self.fits_in) for key in keys if key in self.originals
        }


def small(number: int) -> bytes:
    """A size of ``picture(number)``, as bytes that are nowhere else."""
    image = Image.open(io.BytesIO(picture(number))).resize((32, 24))
    image.putpixel((0, 0), (number % 256, number // 256, 9))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def root(tmp_path):
    """Five originals, and a variant of each that is listed before it, and one that is listed after it."""
    root = tmp_path / "files"
    for number in range(5):
        put(root, f"m{number}.png", picture(number))
        put(root, f"a{number}.png", small(number))
        put(root, f"z{number}.png", small(100 + number))
    return root


ORIGINALS = {f"m{number}.png" for number in range(5)}


@pytest.fixture
def relations():
    return Relations({f"{first}{number}.png": f"m{number}.png" for first in "az" for number in range(5)})


def only(root, *keys):
    """Remove all others."""
    for key in keys_in(root) - set(keys):
        (root / key).unlink()


def of(ledger, key):
    return ledger.objects.on_record([key])[key].assessment


def test_a_variant_is_neither_read_nor_judged_wherever_it_is_listed(root, database, relations) -> None:
    """Originals are judged in the same pass, some after their variants were listed."""
    with scanner_over(root, database, variants_among=relations) as scanner:
        summary = scanner.run(SWEEP)
        assert set(scanner.storage.reads) == ORIGINALS
        assert (summary.seen, summary.checked, summary.variants, summary.skipped) == (15, 5, 10, 0)
        assert summary.complete
        assert of(scanner.ledger, "a3.png").reason == "variant of m3.png"
        assert of(scanner.ledger, "a3.png").status is ItemStatus.VARIANT


def test_later_passes_neither_read_them_nor_write_them_again(root, database, relations) -> None:
    """Each asks again whether the original is still judged clear."""
    with scanner_over(root, database, variants_among=relations) as scanner:
        scanner.run(SWEEP)
        before = scanner.ledger.objects.on_record(["a1.png"])["a1.png"].checked_at
        scanner.storage.reads.clear()
        summary = scanner.run(SWEEP)
        assert (summary.seen, summary.checked, summary.variants, summary.skipped) == (15, 0, 10, 5)
        assert scanner.storage.reads == []
        assert scanner.ledger.objects.on_record(["a1.png"])["a1.png"].checked_at == before
    assert set(relations.asked[15:]) == keys_in(root) - ORIGINALS


def test_a_dry_run_skips_them_too(root, database, relations) -> None:
    with scanner_over(root, database, variants_among=relations, dry_run=True) as scanner:
        assert (scanner.run(SWEEP).variants, set(scanner.storage.reads)) == (10, ORIGINALS)


def test_without_the_database_of_pictrs_every_size_is_judged(root, database, relations) -> None:
    """Also what an earlier pass has skipped, so that switching it off leaves nothing unjudged."""
    with scanner_over(root, database, variants_among=relations) as scanner:
        scanner.run(SWEEP)
    with scanner_over(root, database) as scanner:
        summary = scanner.run(SWEEP)
        assert (summary.checked, summary.variants, summary.skipped) == (10, 0, 5)
        assert of(scanner.ledger, "a3.png").outcome is Outcome.CLEAR


def test_when_the_database_of_pictrs_stops_answering_the_rest_is_judged(root, database, relations) -> None:
    """No verdict waits for it: neither that of new objects nor that of those skipped before."""
    relations.answers_left = 0
    with scanner_over(root, database, variants_among=relations) as scanner:
        summary = scanner.run(SWEEP)
        assert (summary.checked, summary.variants) == (15, 0)


@pytest.mark.parametrize("data", [None, b"no picture", b""], ids=["gone", "a text", "empty"])
def test_an_original_that_cannot_be_judged_has_no_followers(root, database, relations, data) -> None:
    """Its other sizes are all that is left of it."""
    only(root, "m1.png", "a1.png", "z1.png")
    (root / "m1.png").unlink()
    if data is not None:
        put(root, "m1.png", data)
    with scanner_over(root, database, variants_among=relations) as scanner:
        summary = scanner.run(SWEEP)
        assert {"a1.png", "z1.png"} <= set(scanner.storage.reads)
        assert (summary.checked, summary.variants) == (2, 0)


def test_an_original_that_vanished_since_it_was_judged_has_no_new_followers(root, database, relations) -> None:
    """It was removed by hand, for a reason that is not known."""
    only(root, "m1.png", "m2.png")
    with scanner_over(root, database, variants_among=relations) as scanner:
        scanner.run(SWEEP)
        (root / "m1.png").unlink()
        put(root, "m2.png", picture(77))
        for key in ("z1.png", "z2.png"):
            put(root, key, small(int(key[1])), modified_at=minutes_ago(1))
        # A pass of the daemon does not list the originals: they are older.
        summary = scanner.run(PassRequest(kind=DAEMON, since=minutes_ago(10)))
        assert (summary.checked, summary.variants) == (2, 0)


def test_a_new_size_of_a_picture_judged_long_ago_follows_it(root, database, relations) -> None:
    """That a pass of the daemon lists no original does not matter."""
    only(root, "m1.png")
    with scanner_over(root, database, variants_among=relations) as scanner:
        scanner.run(SWEEP)
        put(root, "z1.png", small(1), modified_at=minutes_ago(1))
        scanner.storage.reads.clear()
        assert scanner.run(PassRequest(kind=DAEMON, since=minutes_ago(10))).variants == 1
        assert scanner.storage.reads == []


def test_sizes_of_a_flagged_picture_are_judged_and_acted_on_by_themselves(root, database, relations) -> None:
    """In the same pass, whichever is listed first."""
    put(root, "m1.png", canary_png())
    put(root, "a1.png", canary_thumbnail())
    put(root, "z1.png", canary_thumbnail() + b"\0")
    with scanner_over(root, database, variants_among=relations) as scanner:
        summary = scanner.run(SWEEP)
        assert (summary.flagged, summary.acted, summary.variants) == (3, 3, 8)
    assert keys_in(root) & {"m1.png", "a1.png", "z1.png"} == set()


def test_a_size_larger_than_what_shows_the_same_is_judged(root, database, relations) -> None:
    """``picture(n)`` is 64 + n pixels wide."""
    relations.fits_in = 66
    with scanner_over(root, database, variants_among=relations) as scanner:
        summary = scanner.run(SWEEP)
        assert set(scanner.storage.reads) == ORIGINALS | {f"{first}{number}.png" for first in "az" for number in (3, 4)}
        assert summary.variants == 6


def test_moving_originals_have_no_followers(root, database, relations) -> None:
    """A variant may be a frame between two that were checked."""
    only(root, "m1.png", "a1.png")
    frames = [Image.new("RGB", (64, 48), (shade, 20, 20)) for shade in (0, 120, 240)]
    out = io.BytesIO()
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:], duration=100)
    put(root, "m1.png", out.getvalue())
    with scanner_over(root, database, variants_among=relations) as scanner:
        assert scanner.run(SWEEP).variants == 0


def flagging(tmp_path, *bytes_):
    path = tmp_path / "list.txt"
    path.write_text("".join(f"sha256 {sha256_of(data)}\n" for data in bytes_))
    return HashesDetector(path)


def test_what_followed_an_original_is_judged_once_that_is_flagged(root, database, relations, tmp_path) -> None:
    """A new list flags it at a recheck; a pass of the daemon reads its other sizes, old as they are."""
    with scanner_over(root, database, variants_among=relations) as scanner:
        scanner.run(SWEEP)
    detectors = [flagging(tmp_path, picture(1), small(101))]
    with scanner_over(root, database, variants_among=relations, detectors=detectors) as scanner:
        again = PassRequest(kind=RECHECK, exhaustive=False, keys=("m1.png",))
        assert scanner.run(again).flagged == 1
        scanner.storage.reads.clear()
        summary = scanner.run(PassRequest(kind=DAEMON, since=minutes_ago(1), exhaustive=False))
        assert set(scanner.storage.reads) == {"a1.png", "z1.png"}
        assert (summary.checked, summary.flagged) == (2, 1)
        assert scanner.run(PassRequest(kind=DAEMON, since=minutes_ago(1), exhaustive=False)).checked == 0


def test_a_flag_that_a_person_cleared_has_followers_again(root, database, relations, tmp_path) -> None:
    """The person decided about the picture, whatever its size."""
    only(root, "m1.png")
    detectors = [flagging(tmp_path, picture(1))]
    with scanner_over(root, database, variants_among=relations, detectors=detectors, action=None) as scanner:
        scanner.run(SWEEP)
        scanner.ledger.reviews.decide(["m1.png"], Review.CLEARED)
        put(root, "a1.png", small(1))
        assert scanner.run(SWEEP).variants == 1


def test_new_detectors_judge_originals_again_and_then_their_sizes_follow(root, database, relations) -> None:
    """A verdict by fewer detectors has no followers until it is renewed, and then at once."""
    with scanner_over(root, database, variants_among=relations) as scanner:
        scanner.run(SWEEP)
    with scanner_over(root, database, variants_among=relations, detectors=[HashesDetector(), Recognizer()]) as scanner:
        summary = scanner.run(SWEEP)
        assert set(scanner.storage.reads) == ORIGINALS
        assert (summary.checked, summary.variants) == (5, 10)


def test_a_size_that_was_flagged_itself_never_follows(root, database, relations, tmp_path) -> None:
    """Even if its original is clear, and new detectors would have to judge it again."""
    with scanner_over(root, database, detectors=[flagging(tmp_path, small(1))], action=None) as scanner:
        assert scanner.run(SWEEP).flagged == 1
    detectors = [flagging(tmp_path, small(1)), Recognizer()]
    with scanner_over(root, database, variants_among=relations, detectors=detectors, action=None) as scanner:
        summary = scanner.run(SWEEP)
        assert (summary.flagged, summary.variants) == (1, 9)


def test_a_pass_that_is_stopped_leaves_nothing_half_done(root, database, relations) -> None:
    """Stopped while the first original is being judged; the next pass ends as if nothing had happened."""
    stop = threading.Event()

    class Stopping(HashesDetector):
        def detect(self, batch):
            stop.set()
            return super().detect(batch)

    with scanner_over(root, database, variants_among=relations, detectors=[Stopping()], stop=stop) as scanner:
        assert not scanner.run(SWEEP).complete
    with scanner_over(root, database, variants_among=relations) as scanner:
        scanner.run(SWEEP)
        assert scanner.ledger.maintenance.stats().by_status == {ItemStatus.CHECKED: 5, ItemStatus.VARIANT: 10}


def test_more_than_may_wait_are_judged(root, database) -> None:
    """The first ones, as if they were originals."""
    originals = {f"a{number}.png": f"m{number}.png" for number in range(5)}
    with scanner_over(root, database) as scanner:
        scanner.storage.open()
        sorter = VariantSorter(
            Relations(originals),
            storage=scanner.storage,
            ledger=scanner.ledger,
            ruleset=scanner.engine.begin(PassCounter(), lambda *_: None).ruleset,
            run_id=1,
            counter=PassCounter(),
            most_waiting=3,
        )
        listed = [scanner.storage.stat(key) for key in sorted(originals)]
        to_record = RecordChannel(100)
        assert sorter.to_be_read(listed[:3], (), to_record) == []
        assert sorter.to_be_read(listed[3:], (), to_record) == listed
        assert not sorter.has_waiting


def test_an_original_that_cannot_be_described_stops_nothing(root, database, relations) -> None:
    """The storage refuses it alone."""
    only(root, "m1.png")

    class Refusing(WatchedStorage):
        def _stat(self, key):
            from lemmy_safety.errors import AccessDenied  # noqa: PLC0415

            raise AccessDenied(f"{key} is refused")

    with scanner_over(root, database) as scanner:
        scanner.run(SWEEP)
    put(root, "z1.png", small(1), modified_at=LONG_AGO + timedelta(days=1))
    with scanner_over(root, database, variants_among=relations, storage=Refusing(root)) as scanner:
        assert scanner.run(SWEEP).checked == 1
