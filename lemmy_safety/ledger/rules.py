"""The ledger's rules, pure: what a new result does to an earlier row, and when a row makes reading needless.

The promises that everything else rests on:

- A verdict is about bytes. It stays while they can be the same, whatever happens to later attempts, and it goes when
  they change; a failed attempt never erases it and never counts as one.
- What was flagged stays so until the same detectors have looked again, or a human, wherever the same bytes are met.
- An intended action is about the object as it was judged. It is dropped as soon as that object is another one, so
  that nothing unjudged is ever deleted.
- That no picture can be made of an object is no verdict. Where an admin wants to act on it, it is a second reason to
  act, kept apart from the first: it is gone as soon as anything else is learned of the object.
- A human's decision is about bytes too: it follows the SHA-256 to every key, and stays behind when a key's bytes change.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from lemmy_safety.ledger.schema.codec import NO_DECODER, content_columns, object_columns, verdict_columns
from lemmy_safety.ledger.schema.columns import clean_text
from lemmy_safety.ledger.schema.values import EventKind, Origin
from lemmy_safety.records import UNDECODED, ActionState, ItemStatus, Outcome, Review

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lemmy_safety.ledger.verdicts.decisions import Decision
    from lemmy_safety.ledger.verdicts.records import KnownVerdict
    from lemmy_safety.records import ActionPlan, ItemResult, Ruleset, StoredObject

_NO_REVIEW: dict[str, Any] = {"review": Review.NONE, "review_note": "", "review_at": None}


class Known(StrEnum):
    """Why an object need not be read."""

    SETTLED = "settled"
    """Judged (or found unreadable) in its present content: skip it."""
    PENDING = "pending"
    """Flagged or found unreadable earlier, not cleared, and no action taken: nothing to read, but an action can be open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierRow:
    """What the rules need to know of a row that is already there. ``obj`` is None for legacy rows."""

    obj: StoredObject | None
    sha256: str | None
    status: ItemStatus
    decoder: str
    decoder_broke: bool | None
    outcome: Outcome | None
    detectors: frozenset[str]
    action_state: ActionState
    review: Review
    origin: Origin
    judgement: int

    @property
    def holds_no_picture(self) -> bool:
        return holds_no_picture(self.status, self.outcome, self.sha256, decoder_broke=self.decoder_broke)

    def same_content_as(self, obj: StoredObject, sha256: str | None = None) -> bool:
        """Whether the row can be about these bytes; hashes decide where both sides have one."""
        if self.sha256 is not None and sha256 is not None:
            return self.sha256 == sha256
        return self.obj is not None and self.obj.same_content_as(obj)


def holds_no_picture(
    status: ItemStatus, outcome: Outcome | None, sha256: str | None, *, decoder_broke: bool | None
) -> bool:
    """Whether an object may be acted on for being unreadable.

    Not when the decoder broke on it (what it holds is not known), not where that was never asked (rows before the
    schema 0002), not when its bytes were never had, and not when it could be read once.
    """
    return status is ItemStatus.UNREADABLE and outcome is None and sha256 is not None and decoder_broke is False


@dataclass(frozen=True, slots=True, kw_only=True)
class PassTerms:
    """What a pass records by. ``dry_run`` is noted in the rows; the ``plan`` alone says what is done."""

    run_id: int
    dry_run: bool
    plan: ActionPlan
    decoder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What to write for one result. ``intends`` names the action that is wanted from now on, if there is a new one."""

    values: Mapping[str, Any]
    intends: str | None = None
    events: tuple[tuple[EventKind, Mapping[str, Any]], ...] = field(default=())


def standing(row: EarlierRow, obj: StoredObject, ruleset: Ruleset) -> Known | None:
    """Whether the listed object need not be read, and why; None when it must be.

    Gone, done and refused rows never stand: an object that is listed again is there, whatever was written.
    """
    legacy = row.origin is Origin.LEGACY
    if row.status in UNDECODED and row.decoder == NO_DECODER:
        return None  # an admin asked for another look
    if row.status is ItemStatus.GONE or row.action_state in (ActionState.DONE, ActionState.REFUSED):
        return None
    if legacy and row.obj is None:
        # Known by key alone; without a verdict it was a failed attempt.
        return Known.SETTLED if row.outcome is not None else None
    if not row.same_content_as(obj):
        return None
    judged = row.outcome is not None and (legacy or ruleset.detectors <= row.detectors)
    undecoded = row.status in UNDECODED and row.decoder == ruleset.decoder
    if not judged and not undecoded:
        return None
    waiting = row.action_state in (ActionState.NONE, ActionState.FAILED) and row.review is not Review.CLEARED
    actionable = row.outcome is Outcome.FLAGGED or row.holds_no_picture
    return Known.PENDING if actionable and waiting else Known.SETTLED


def merge(
    row: EarlierRow | None,
    result: ItemResult,
    *,
    flag: KnownVerdict | None = None,
    decision: Decision | None,
    terms: PassTerms,
) -> Change:
    """What a new result makes of the row for its key.

    ``flag`` stands on the same bytes and wins over the result's verdict, which is not "flagged"; see ``flags.py``.
    ``decision`` is what a human decided about the same bytes, under this key or another.
    """
    assessment = result.assessment
    if assessment.verdict is None:
        if row is not None and _keeps_verdict(row, result):
            values = {"status": assessment.status, "reason": clean_text(assessment.reason), "decoder": terms.decoder}
            # The same bytes may be described again (touched, copied in place); what is gone is described as judged.
            described = row.obj is not None and assessment.status is not ItemStatus.GONE
            values |= object_columns(result.obj if described else row.obj)
            return Change(values=values)
        return _without_verdict(row, result, decision, terms)
    if row is not None and (_is_same_flag(row, result) if flag else _flagged_by_others(row, result)):
        return _stays_flagged(row, result, terms)
    if flag is not None:
        result = overruled(result, flag)
    return _judged(row, result, decision, terms)


def overruled(result: ItemResult, flag: KnownVerdict) -> ItemResult:
    """The result of an object that others have not flagged, under a flag that stands on its bytes."""
    return replace(
        result,
        assessment=flag.laid_over(result.assessment),
        reused_from=flag.key if result.reused_from is None else result.reused_from,
    )


def _keeps_verdict(row: EarlierRow, result: ItemResult) -> bool:
    if row.outcome is None:
        return False
    if result.assessment.status is ItemStatus.GONE:
        return True  # the bytes that were judged are gone; what was said of them stays true
    if row.origin is Origin.LEGACY and not result.assessment.status.settled:
        return True
    return row.same_content_as(result.obj, result.assessment.sha256)


def _facts(row: EarlierRow | None, result: ItemResult, decision: Decision | None, terms: PassTerms) -> dict[str, Any]:
    assessment = result.assessment
    return {
        **object_columns(result.obj),
        **content_columns(assessment),
        **verdict_columns(assessment),
        "reused_from": result.reused_from if assessment.verdict is not None else None,
        "action_id": None,
        **(_NO_REVIEW if decision is None else decision.columns),
        "status": assessment.status,
        "reason": clean_text(assessment.reason),
        "decoder": terms.decoder,
        "decoder_broke": assessment.decoder_broke if assessment.status is ItemStatus.UNREADABLE else None,
        "dry_run": terms.dry_run,
        "origin": Origin.SCAN,
        "judgement": 1 if row is None else row.judgement + 1,
    }


def _without_verdict(
    row: EarlierRow | None,
    result: ItemResult,
    decision: Decision | None,
    terms: PassTerms,
) -> Change:
    """The first we learn of these bytes, or they replace others: there is no verdict, and none may linger."""
    values = _facts(row, result, decision, terms)
    found = result.assessment
    why = f"now {found.status.value}"
    if holds_no_picture(found.status, None, found.sha256, decoder_broke=found.decoder_broke):
        unflagged = [] if row is None else _unflagged(row, why)
        return _to_be_acted_on(row, result, decision, values, unflagged, action=terms.plan.unreadable)
    return Change(values=values, events=() if row is None else (*_drops(row, why), *_unflagged(row, why)))


def _judged(
    row: EarlierRow | None,
    result: ItemResult,
    decision: Decision | None,
    terms: PassTerms,
) -> Change:
    values = _facts(row, result, decision, terms)
    verdict = result.assessment.verdict
    if verdict is None or verdict.outcome is not Outcome.FLAGGED:
        why = "judged again, not flagged"
        return Change(values=values, events=() if row is None else (*_drops(row, why), *_unflagged(row, why)))
    said = {"rules_version": verdict.rules_version, "dry_run": terms.dry_run, "reused_from": result.reused_from}
    return _to_be_acted_on(row, result, decision, values, [(EventKind.FLAGGED, said)], action=terms.plan.flagged)


def _is_same_flag(row: EarlierRow, result: ItemResult) -> bool:
    return row.outcome is Outcome.FLAGGED and row.same_content_as(result.obj, result.assessment.sha256)


def _flagged_by_others(row: EarlierRow, result: ItemResult) -> bool:
    """As ``flags.py`` decides, where it cannot: for bytes whose hash is not known."""
    hashed = row.sha256 is not None and result.assessment.sha256 is not None
    judged_clear = result.assessment.verdict is not None and not result.assessment.flagged
    return (
        not hashed
        and judged_clear
        and row.origin is Origin.SCAN
        and _is_same_flag(row, result)
        and not row.detectors <= result.assessment.detectors
    )


def _stays_flagged(row: EarlierRow, result: ItemResult, terms: PassTerms) -> Change:
    """The same bytes were flagged with a detector that has not looked this time: it was not proved wrong."""
    values = _facts(row, result, None, terms)
    kept = {name: values[name] for name in ("status", "reason", "decoder")}
    kept["detectors"] = row.detectors | result.assessment.detectors
    if row.action_state in (ActionState.DONE, ActionState.REFUSED):
        # It is there all the same: open again, for the next pass that lists it.
        kept |= {"action_id": None, "judgement": values["judgement"]}
    return Change(values={**kept, **object_columns(result.obj)})


def _to_be_acted_on(
    row: EarlierRow | None,
    result: ItemResult,
    decision: Decision | None,
    values: dict[str, Any],
    said: list[tuple[EventKind, Mapping[str, Any]]],
    *,
    action: str | None,
) -> Change:
    """There is a reason to act; what becomes of an earlier intent, and whether there is a new one."""
    if decision is not None and decision.review is Review.CLEARED:
        dropped = [] if row is None else _drops(row, "cleared by a human")
        return Change(values=values, events=(*said, *dropped))
    if action is not None:
        superseded = [] if row is None else _drops(row, "decided again")
        return Change(values=values, intends=action, events=(*said, *superseded))
    if row is not None and row.action_state is ActionState.INTENDED:
        same_reason = row.holds_no_picture == (result.assessment.verdict is None)
        if same_reason and row.same_content_as(result.obj, result.assessment.sha256):
            # Decided by an earlier live pass and perhaps already under way: it stays decided.
            for name in ("judgement", "action_id"):
                values.pop(name)
            return Change(values=values, events=tuple(said))
        return Change(values=values, events=(*said, *_drops(row, "content or reason changed")))
    return Change(values=values, events=tuple(said))


def _drops(row: EarlierRow, why: str) -> list[tuple[EventKind, Mapping[str, Any]]]:
    return [(EventKind.DROPPED, {"why": why})] if row.action_state is ActionState.INTENDED else []


def _unflagged(row: EarlierRow, why: str) -> list[tuple[EventKind, Mapping[str, Any]]]:
    return [(EventKind.UNFLAGGED, {"why": why})] if row.outcome is Outcome.FLAGGED else []
