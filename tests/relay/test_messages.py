"""What is said on the wire is read back as it was, and nothing that anybody can say does more than raise BadMessage."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ledger.results import NOON, checked
from support.ledger.uploads import upload

from lemmy_safety.ledger import UploadAnswer, UploadRow
from lemmy_safety.records import (
    DOMAIN_NAME,
    Anomaly,
    AnomalyKind,
    Assessment,
    Finding,
    ItemStatus,
    MediaInfo,
    Outcome,
    Pdq,
    Verdict,
    worst,
)
from lemmy_safety.relay import messages, protocol
from lemmy_safety.relay.learned import encode_learned
from lemmy_safety.relay.protocol import BadMessage

SMALL = st.integers(0, 2**31 - 1)
TEXT = st.text(max_size=20)
WORDS = st.text("abcXYZ019._+-", min_size=1, max_size=20)
HITS = st.builds(
    Finding,
    detector=TEXT,
    version=TEXT,
    label=TEXT,
    score=st.floats(0.5, 1.0),
    threshold=st.just(0.5),
    frame=SMALL,
    view=TEXT,
)
DOMAINS = st.from_regex(DOMAIN_NAME, fullmatch=True)


@st.composite
def verdicts(draw) -> Verdict:
    """Of any policy: each domain has an outcome, and some of them may lead to an action."""
    outcomes = draw(st.dictionaries(DOMAINS, st.sampled_from(Outcome), min_size=1, max_size=4))
    return Verdict(
        outcome=worst(draw(st.lists(st.sampled_from(sorted(outcomes.values()))))),
        outcomes=outcomes,
        nsfw=draw(st.none() | st.booleans()),
        findings=tuple(draw(st.lists(HITS, max_size=3))),
        rules_version=draw(TEXT),
    )


VERDICTS = verdicts()
ANOMALIES = st.builds(Anomaly, kind=st.sampled_from(AnomalyKind), detail=TEXT)
INFOS = st.builds(
    MediaInfo,
    media_type=TEXT,
    width=SMALL,
    height=SMALL,
    frame_count=SMALL,
    anomalies=st.lists(ANOMALIES, max_size=2).map(tuple),
)
PDQS = st.builds(Pdq, hex=st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}"), quality=st.integers(0, 100))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "image", "is_csam", "is_nsfw", "learned", "status", "verdict", "outcome", "findings", "info", "pdq",
                    "hex", "quality", "sha256", "size", "at", "detectors", "rules_version", "width", "anomalies",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)  # fmt: skip


def over_the_wire(message):
    return json.loads(json.dumps(message, allow_nan=False))


def learned(message):
    """What a relay takes from a worker's word on these bytes."""
    answer = {"image": "a", "is_csam": False, "is_nsfw": False, "learned": message}
    ((_, judged),) = messages.decode_judged_page({"judged": [{"sha256": "ab" * 32, "learned": message}]})
    assert messages.decode_answer(answer).learned.assessment("ab" * 32) == judged
    return judged


@given(VERDICTS | st.none(), st.frozensets(WORDS, max_size=3), st.none() | INFOS, st.none() | PDQS, TEXT)
def test_what_was_learned_comes_back(verdict, detectors, info, pdq, reason) -> None:
    """Of the findings those that count, and of the medium what is worth keeping."""
    said = Assessment(
        status=ItemStatus.UNREADABLE if verdict is None else ItemStatus.CHECKED,
        reason=reason,
        verdict=verdict,
        detectors=detectors,
        info=info,
        pdq=pdq,
        sha256="ab" * 32,
    )
    assert learned(over_the_wire(encode_learned(said))) == said


@pytest.mark.parametrize("outcome", Outcome)
def test_a_side_that_knows_no_domains_speaks_of_csam(outcome) -> None:
    """An older version leaves the field out, and reads past it."""
    message = over_the_wire(encode_learned(checked("a", outcome).assessment))
    assert message["verdict"].pop("outcomes") == {"csam": outcome}
    assert learned(message).verdict.outcomes == {"csam": outcome}


def test_findings_that_do_not_count_or_are_no_numbers_stay_at_home() -> None:
    """Scores of strangers' pictures are no one's business elsewhere."""
    findings = (
        Finding(detector="clip", version="1", label="miss", score=0.1, threshold=0.5),
        Finding(detector="clip", version="1", label="note", score=0.1),
        Finding(detector="clip", version="1", label="hit", score=0.9, threshold=0.5, details={"words": [1]}),
        Finding(detector="clip", version="1", label="odd", score=float("inf"), threshold=0.5),
    )
    verdict = Verdict(outcome=Outcome.FLAGGED, nsfw=None, findings=findings, rules_version="1")
    said = checked("a", verdict=verdict).assessment
    back = learned(over_the_wire(encode_learned(said)))
    assert [(finding.label, dict(finding.details)) for finding in back.verdict.findings] == [("hit", {})]


@pytest.mark.parametrize("refuse", [True, False])
def test_an_answer_is_one_for_pictrs_safety_as_well(refuse) -> None:
    """Its three fields stand where it looks for them."""
    message = over_the_wire(messages.encode_answer("name.png", checked("a").assessment, refuse=refuse))
    assert (message["image"], message["is_csam"], message["is_nsfw"]) == ("name.png", refuse, refuse)
    back = messages.decode_answer(message)
    assert (back.image, back.refuse) == ("name.png", refuse)
    assert messages.decode_answer({key: message[key] for key in ("image", "is_csam", "is_nsfw")}).learned is None


def unchecked(assessment=None) -> UploadRow:
    made = upload("a")
    return UploadRow(
        sha256=made.sha256,
        size=made.size,
        media_type=made.media_type,
        answer=UploadAnswer.UNCHECKED,
        assessment=assessment,
        reason="timed_out",
        judged_at=None,
        first_at=NOON.astimezone(UTC),
        last_at=NOON,
        times=1,
        found_storage=None,
        found_key=None,
    )


def test_a_verdict_is_told_although_a_later_attempt_brought_none() -> None:
    """The ledger keeps both; a relay that heard of an unreadable upload with a verdict would refuse the whole page."""
    known = dataclasses.replace(checked("a").assessment, status=ItemStatus.UNREADABLE, reason="damaged since")
    entry = over_the_wire(messages.encode_judged(unchecked(known)))
    ((sha256, told),) = messages.decode_judged_page({"judged": [entry]})
    assert (sha256, told.status) == (unchecked().sha256, ItemStatus.CHECKED)
    assert told.verdict.outcome is known.verdict.outcome
    assert messages.encode_judged(unchecked()) is None


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ([], "not an object of JSON"),
        ({"image": "a", "is_csam": 1, "is_nsfw": False}, "is_csam: Input should be a valid boolean"),
        ({"image": "a", "is_csam": True}, "is_nsfw: Field required"),
        (
            {"image": "a", "is_csam": True, "is_nsfw": True, "learned": {"status": "SECRET"}},
            "learned.status: none of those that there are",
        ),
        (
            {"image": "a", "is_csam": True, "is_nsfw": True, "learned": {"status": "checked"}},
            "learned: a verdict is set exactly when the status is checked",
        ),
    ],
)
def test_a_refusal_names_the_field_and_quotes_nothing(message, said) -> None:
    """One line that an admin can act on; what the other side sent may be anything."""
    with pytest.raises(BadMessage) as raised:
        messages.decode_answer(message)
    assert str(raised.value) == said


def test_an_unchecked_upload_comes_back() -> None:
    """With the time at which it was let in."""
    row = unchecked()
    back = messages.decode_unchecked(over_the_wire(messages.encode_unchecked(row)))
    assert back == upload("a", reason="timed_out", at=NOON)


@given(JSON)
def test_nonsense_is_a_bad_message_and_nothing_else(message) -> None:
    """Whatever someone with the key sends."""
    for decode in (
        messages.decode_answer,
        learned,
        messages.decode_unchecked,
        messages.decode_judged_page,
        messages.decode_unchecked_page,
    ):
        try:
            decode(message)
        except BadMessage:
            continue


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("attachment; filename=a1.png", "a1.png"),
        ('attachment; filename="a1.png"', "a1.png"),
        ("filename=a1.png ", "a1.png"),
        ("attachment", None),
        ("attachment; filename=", None),
        ("attachment; filename=a b.png", None),
        ("attachment; filename=../../etc", None),
        ("", None),
    ],
)
def test_names_of_media_are_taken_as_the_ancestor_gives_them(header, name) -> None:
    """And nothing else goes back to the server as one."""
    if name is None:
        with pytest.raises(BadMessage):
            protocol.name_in(header)
    else:
        assert protocol.name_in(header) == name


@given(st.text(max_size=30))
def test_a_name_that_we_make_can_be_read_back(media_type) -> None:
    """Whatever the sender calls its medium."""
    assert protocol.name_in(f"attachment; filename={protocol.image_name('0a', media_type)}").startswith("0a.")


@given(st.none() | st.text(max_size=12) | st.floats().map(str))
def test_the_time_to_wait_is_bounded(text) -> None:
    """No one keeps a question open for longer than we want."""
    assert 0.0 <= protocol.wanted_wait(text, most=25.0) <= 25.0
