"""What pict-rs is told, asked as pict-rs asks, over a socket; real decoder, real hashes detector, real ledger."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.ledger.results import checked, record
from support.media.pictures import encode, encode_animation, gradient, photo, truncated
from support.scan.passes import put, scanner_over
from support.web.hook import running_hook
from support.web.pictrs_client import get
from support.web.stand_ins import FailingDetector, GatedDetector

from lemmy_safety.detectors.hashes.canary import canary_image, canary_png
from lemmy_safety.errors import LedgerLocked, WeightsMissing
from lemmy_safety.fingerprints import sha256_of
from lemmy_safety.ledger import FROM_UPLOAD, UploadAnswer
from lemmy_safety.records import ItemStatus, Outcome, Review
from lemmy_safety.scan import PassRequest

CANARY = canary_png()
HARMLESS = encode(photo(), "png")
UNREADABLE = b"just a few words, and no picture"


def picture(number: int) -> bytes:
    return encode(gradient(seed=number), "png")


def test_harmless_is_accepted_and_canary_refused(tmp_path):
    """A photo is accepted and the canary refused, in any wrapping; the body says nothing else; both are on record."""
    with running_hook(tmp_path) as hook:
        accepted = hook.ask(HARMLESS)
        assert (accepted.status, accepted.body) == (200, b"accepted")
        refused = hook.ask(CANARY)
        assert (refused.status, refused.body) == (406, b"refused")
        assert hook.ask(encode(canary_image(), "webp"), media_type="image/webp").status == 406
        known = hook.ledger.uploads.get(sha256_of(CANARY))
        assert known.answer is UploadAnswer.REFUSED
        assert known.assessment.verdict.outcome is Outcome.FLAGGED
        assert known.media_type == "image/png"
        assert hook.ledger.uploads.get(sha256_of(HARMLESS)).answer is UploadAnswer.ACCEPTED
        assert hook.metric('answers_total{answer="refused"}') == 2


def test_every_frame_counts(tmp_path):
    """An animation that shows the canary in its second frame only is refused."""
    frames = [gradient(1024, 768), canary_image()]
    with running_hook(tmp_path) as hook:
        assert hook.ask(encode_animation(frames, "webp"), media_type="image/webp").status == 406


@pytest.mark.parametrize(("accept", "status"), [(True, 200), (False, 406)])
def test_unreadable_follows_the_setting(tmp_path, accept, status):
    """What no decoder can read is answered by the one setting for that, and is on record with its reason."""
    with running_hook(tmp_path, accept_unchecked=accept) as hook:
        assert hook.ask(UNREADABLE).status == status
        assert hook.ask(truncated(HARMLESS, 0.001)).status == status
        row = hook.ledger.uploads.get(sha256_of(UNREADABLE))
        assert row.assessment.status is ItemStatus.UNREADABLE
        assert row.answer is (UploadAnswer.UNCHECKED if accept else UploadAnswer.REFUSED)
        assert row.reason
        assert hook.metric('unchecked_total{cause="unreadable"}') == 2


@pytest.mark.parametrize(("accept", "status"), [(True, 200), (False, 406)])
def test_timeout_follows_the_setting(tmp_path, accept, status):
    """When the budget is over before the detector answers, the setting decides; accepted ones are listed as unchecked."""
    waiting = GatedDetector()
    with running_hook(tmp_path, detectors=[waiting], accept_unchecked=accept, budget_s=0.2) as hook:
        assert hook.ask(HARMLESS).status == status
        listed = [row.sha256 for row in hook.ledger.uploads.unchecked()]
        assert listed == ([sha256_of(HARMLESS)] if accept else [])
        assert hook.metric('unchecked_total{cause="timed_out"}') == 1
        waiting.gate.set()


def test_late_verdict_is_recorded(tmp_path):
    """A verdict that comes after its answer is kept: the canary that was let in unchecked is known as flagged."""
    waiting = GatedDetector()
    with running_hook(tmp_path, detectors=[waiting], budget_s=0.2) as hook:
        assert hook.ask(CANARY).status == 200
        assert hook.ledger.uploads.count_unchecked() == 1
        waiting.gate.set()
        hook.wait_for_metric('late_verdicts_total{outcome="flagged"}', 1)
    with running_hook(tmp_path) as hook:
        row = hook.ledger.uploads.get(sha256_of(CANARY))
        assert row.answer is UploadAnswer.UNCHECKED
        assert row.assessment.verdict.outcome is Outcome.FLAGGED
        assert hook.ledger.uploads.count_unchecked() == 0


def test_upload_let_in_unchecked_is_refused_when_it_comes_again(tmp_path):
    """Once the late verdict is there, the same bytes are refused without another look at them."""
    waiting = GatedDetector()
    with running_hook(tmp_path, detectors=[waiting], budget_s=0.2) as hook:
        assert hook.ask(CANARY).status == 200
        waiting.gate.set()
        hook.wait_for_metric('late_verdicts_total{outcome="flagged"}', 1)
    with running_hook(tmp_path, detectors=[waiting]) as hook:
        assert hook.ask(CANARY).status == 406
        assert hook.decoder.calls == 0


def test_known_bytes_are_not_decoded_again(tmp_path):
    """A re-upload is answered from the ledger, also by a service that was started again."""
    with running_hook(tmp_path) as hook:
        hook.ask(HARMLESS)
        hook.ask(CANARY)
        assert hook.decoder.calls == 2
        assert (hook.ask(HARMLESS).status, hook.ask(CANARY).status) == (200, 406)
        assert hook.decoder.calls == 2
    with running_hook(tmp_path) as hook:
        assert (hook.ask(HARMLESS).status, hook.ask(CANARY).status) == (200, 406)
        assert hook.decoder.calls == 0
        assert hook.metric("reused_verdicts_total") == 2


def test_hook_knows_what_a_sweep_has_judged(tmp_path):
    """Bytes that lie in the storage and were judged there are answered without decoding them."""
    put(tmp_path / "files", "a/b/stored.png", CANARY)
    with scanner_over(tmp_path / "files", tmp_path / "hook.db", action=None) as scanner:
        scanner.run(PassRequest(kind="sweep"))
    with running_hook(tmp_path) as hook:
        assert hook.ask(CANARY).status == 406
        assert hook.decoder.calls == 0


def test_sweep_knows_what_the_hook_has_judged(tmp_path):
    """It reads the objects, and takes the hook's verdicts on the same bytes: same rules, nothing is judged twice."""
    with running_hook(tmp_path, dry_run=True) as hook:
        assert [hook.ask(data).status for data in (CANARY, HARMLESS)] == [200, 200]
    put(tmp_path / "files", "a/b/stored.png", CANARY)
    put(tmp_path / "files", "a/b/harmless.png", HARMLESS)
    with scanner_over(tmp_path / "files", tmp_path / "hook.db", action=None) as scanner:
        counts = scanner.run(PassRequest(kind="sweep"))
        (row,) = scanner.ledger.reviews.flagged()
    assert row.key == "a/b/stored.png"
    assert row.reused_from == FROM_UPLOAD
    assert (counts.bytes_read, counts.checked, counts.reused) == (len(CANARY) + len(HARMLESS), 2, 2)


def test_same_bytes_at_the_same_time_are_judged_once(tmp_path):
    """Several uploads of the same bytes that come together share one decoding and one verdict."""
    waiting = GatedDetector()
    with running_hook(tmp_path, detectors=[waiting]) as hook, ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(hook.ask, HARMLESS) for _ in range(5)]
        hook.wait_for_metric("joined_total", 4)
        waiting.gate.set()
        assert [answer.result().status for answer in answers] == [200] * 5
        assert hook.decoder.calls == 1
        assert waiting.batches == [1]


def test_concurrent_uploads_are_judged_in_batches(tmp_path):
    """What has gathered while the judge could not work is judged together: one to learn its speed, then the others."""
    loading = GatedDetector()
    loading.ready_to_open.clear()
    loading.gate.set()
    with (
        running_hook(tmp_path, detectors=[loading], wait_until_ready=False) as hook,
        ThreadPoolExecutor(9) as pool,
    ):
        answers = [pool.submit(hook.ask, picture(number)) for number in range(9)]
        hook.wait_for_metric("queue_length", 9)
        pause = threading.Event()
        while hook.decoder.calls < 9:
            pause.wait(0.01)
        loading.ready_to_open.set()
        assert {answer.result().status for answer in answers} == {200}
        assert sum(loading.batches) == 9
        assert len(loading.batches) < 9
        assert hook.metric("batch_size_sum") == 9


@pytest.mark.parametrize(("accept", "status"), [(True, 200), (False, 406)])
def test_full_queue_follows_the_setting(tmp_path, accept, status):
    """Beyond the queue's length the setting decides at once, without a wait for the budget."""
    waiting = GatedDetector()
    with (
        running_hook(tmp_path, detectors=[waiting], accept_unchecked=accept, queue=2) as hook,
        ThreadPoolExecutor(2) as pool,
    ):
        held = [pool.submit(hook.ask, picture(number)) for number in range(2)]
        hook.wait_for_metric("queue_length", 2)
        assert hook.ask(CANARY).status == status
        assert hook.metric('unchecked_total{cause="queue_full"}') == 1
        assert hook.ledger.uploads.count_unchecked() == (1 if accept else 0)
        waiting.gate.set()
        assert {answer.result().status for answer in held} == {200}


@pytest.mark.parametrize("why", ["queue_full", "timed_out"])
def test_what_is_known_to_be_flagged_is_not_let_in_for_want_of_time(tmp_path, why):
    """Whatever the setting, and by whatever rules it was flagged, unless a human has cleared it."""
    with running_hook(tmp_path) as hook:
        assert hook.ask(CANARY).status == 406
    waiting = GatedDetector()  # other rules: the verdict does not stand for these
    with (
        running_hook(tmp_path, detectors=[waiting], queue=1, budget_s=0.3 if why == "timed_out" else 20) as hook,
        ThreadPoolExecutor(1) as pool,
    ):
        held = pool.submit(hook.ask, picture(1)) if why == "queue_full" else None
        if held is not None:
            hook.wait_for_metric("queue_length", 1)
        assert hook.ask(CANARY).status == 406
        assert sha256_of(CANARY) not in {row.sha256 for row in hook.ledger.uploads.unchecked()}
        if held is not None:
            hook.ledger.reviews.decide([sha256_of(CANARY)], Review.CLEARED)
            assert hook.ask(CANARY).status == 200
        waiting.gate.set()


@pytest.mark.parametrize("when", ["before", "after, by others", "before and after, by others"])
def test_a_flag_of_the_door_outlives_what_passes_say_of_the_same_bytes(tmp_path, when):
    """Found clear in the storage before it was flagged, or later by others than those that flagged it: kept out of a full queue."""
    looked = frozenset({"clip"}) if "others" in when else frozenset({"clip", "hashes"})

    def found_clear(hook):
        record(hook.ledger, [checked("key", sha256=sha256_of(CANARY), detectors=looked)])

    with running_hook(tmp_path) as hook:
        if "before" in when:
            found_clear(hook)
        assert hook.ask(CANARY).status == 406
        if "after" in when:
            found_clear(hook)
    waiting = GatedDetector()
    with running_hook(tmp_path, detectors=[waiting], queue=1) as hook, ThreadPoolExecutor(1) as pool:
        held = pool.submit(hook.ask, picture(1))
        hook.wait_for_metric("queue_length", 1)
        assert hook.ask(CANARY).status == 406
        assert hook.ledger.uploads.count_unchecked() == 0
        waiting.gate.set()
        assert held.result().status == 200


def test_a_flag_by_other_detectors_wins_also_where_there_is_time_to_look(tmp_path):
    """A pass with another model flagged the bytes; the hook's own detectors find nothing in them, and a human can clear them."""
    flagged_bytes = picture(3)
    with running_hook(tmp_path) as hook:
        record(
            hook.ledger,
            [checked("key", Outcome.FLAGGED, sha256=sha256_of(flagged_bytes), detectors=frozenset({"clip"}))],
        )
        assert hook.ask(flagged_bytes).status == 406
        assert hook.ask(picture(4)).status == 200
        hook.ledger.reviews.decide([sha256_of(flagged_bytes)], Review.CLEARED)
        assert hook.ask(flagged_bytes).status == 200


def test_late_uploads_make_room(tmp_path):
    """An upload that was answered already gives its place in a full queue to one that was not."""
    waiting = GatedDetector(batch_size=1)
    with running_hook(tmp_path, detectors=[waiting], queue=3, budget_s=0.3) as hook:
        for number in range(6):
            assert hook.ask(picture(number)).status == 200
        assert hook.metric('unchecked_total{cause="timed_out"}') == 6
        assert hook.metric("dropped_late_total") == 3
        assert hook.metric('unchecked_total{cause="queue_full"}') == 0
        waiting.gate.set()


def test_uploads_wait_for_the_model(tmp_path):
    """While models load the port is open and /ready says so; who cannot wait is answered by the setting."""
    loading = GatedDetector()
    loading.ready_to_open.clear()
    loading.gate.set()
    with running_hook(tmp_path, detectors=[loading], budget_s=0.3, wait_until_ready=False) as hook:
        assert get(hook.port, "/health").status == 200
        ready = get(hook.port, "/ready")
        assert (ready.status, ready.body) == (503, b'{"model":"loading","database":"writable"}')
        assert hook.ask(HARMLESS).status == 200
        assert hook.metric('unchecked_total{cause="model_loading"}') == 1
        loading.ready_to_open.set()
        hook.wait_for_metric('late_verdicts_total{outcome="clear"}', 1)
        assert get(hook.port, "/ready").status == 200


def test_model_that_cannot_be_opened_ends_the_service(tmp_path):
    """Without its detectors the service ends with their error instead of letting everything in."""

    class Missing(GatedDetector):
        def open(self) -> None:
            raise WeightsMissing("no weights here")

    with running_hook(tmp_path, detectors=[Missing()], wait_until_ready=False) as hook:
        hook.thread.join(20)
        assert [type(error) for error in hook.ended_with] == [WeightsMissing]


def test_broken_detector_hides_nothing(tmp_path):
    """With a detector that fails on everything the canary is still refused, and nothing else passes as checked."""
    failing = FailingDetector()
    with running_hook(tmp_path, detectors=[failing]) as hook:
        for number in range(12):  # beyond the failures in a row at which a sweep ends
            assert hook.ask(picture(number)).status == 200
        assert hook.ask(CANARY).status == 406
        assert hook.ledger.uploads.count_unchecked() == 12
        assert hook.metric('unchecked_total{cause="detector_failed"}') == 12
        assert get(hook.port, "/ready").status == 503
        failing.mended = True
        assert hook.ask(HARMLESS).status == 200
        assert get(hook.port, "/ready").status == 200


def test_cleared_by_a_human_is_accepted(tmp_path):
    """Bytes that a human cleared in the storage are accepted at the door, although they are flagged."""
    root = tmp_path / "files"
    put(root, "a/b/stored.png", CANARY)
    with scanner_over(root, tmp_path / "hook.db", action=None) as scanner:
        scanner.run(PassRequest(kind="sweep"))
        scanner.ledger.reviews.decide(["a/b/stored.png"], Review.CLEARED)
    with running_hook(tmp_path) as hook:
        assert hook.ask(CANARY).status == 200
        assert hook.ask(encode(canary_image(), "webp")).status == 406


def test_dry_run_refuses_nothing(tmp_path):
    """In a dry run the canary is accepted, counted apart, and on record as flagged."""
    with running_hook(tmp_path, dry_run=True) as hook:
        assert hook.ask(CANARY).status == 200
        assert hook.metric('answers_total{answer="accepted_dry_run"}') == 1
        assert hook.ledger.uploads.get(sha256_of(CANARY)).assessment.verdict.outcome is Outcome.FLAGGED


class LockedLedger:
    """A ledger that can be read and, for as long as it is locked, not written; everything else is the real one's."""

    def __init__(self, real) -> None:
        self.real = real
        self.locked = True
        self.maintenance = LockedStore(self, real.maintenance)
        self.uploads = LockedStore(self, real.uploads)

    def __getattr__(self, name):
        return getattr(self.real, name)


class LockedStore:
    """One of its stores."""

    def __init__(self, ledger, real) -> None:
        self.ledger, self.real = ledger, real

    def __getattr__(self, name):
        return getattr(self.real, name)

    def check_writable(self):
        if self.ledger.locked:
            raise LedgerLocked("another process holds the database")

    def record(self, results):
        self.check_writable()
        self.real.record(results)


def test_nothing_is_let_in_without_a_record(tmp_path):
    """While the database cannot be written, what has no verdict is refused whatever the setting says; verdicts hold."""
    with running_hook(tmp_path, ledger_seen_as=LockedLedger, wait_until_ready=False) as hook:
        hook.wait_for_metric('model{state="ready"}', 1)
        assert hook.ask(UNREADABLE).status == 406
        assert hook.ask(HARMLESS).status == 200
        assert hook.ask(CANARY).status == 406
        assert hook.metric('answers_total{answer="unchecked_refused"}') == 1
        assert get(hook.port, "/ready").body == b'{"model":"ready","database":"failing"}'
        assert hook.ledger.uploads.get(sha256_of(UNREADABLE)) is None


def test_records_follow_when_the_database_is_back(tmp_path):
    """Answers that could not be recorded are recorded as soon as the database can be written again."""
    seen = []

    def locked_ledger(real):
        seen.append(LockedLedger(real))
        return seen[0]

    with running_hook(tmp_path, ledger_seen_as=locked_ledger, wait_until_ready=False) as hook:
        hook.wait_for_metric('model{state="ready"}', 1)
        assert hook.ask(CANARY).status == 406
        assert hook.ledger.uploads.get(sha256_of(CANARY)) is None
        seen[0].locked = False
        hook.ask(HARMLESS)  # makes the next try happen now
        assert hook.ledger.uploads.get(sha256_of(CANARY)).answer is UploadAnswer.REFUSED
        assert hook.metric("unrecorded_total") == 0
