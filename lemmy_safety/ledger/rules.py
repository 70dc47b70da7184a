"""The ledger's rules, pure: what a new result does to an earlier row, and when an object need not be read.

Everything else rests on these promises:

- A verdict is about bytes. It stays while they can be the same, whatever later attempts bring, and it goes when
  they change; a failed attempt never erases it and never counts as one.
- A flagged object stays flagged until the same detectors examine it again, or a person decides, wherever the same bytes
  are found.
- An intended action is about the object as it was judged. It is dropped as soon as the object changes, so
  that nothing unjudged is ever deleted.
- "Undecodable" is a status, not a verdict. If an admin wants to act on it, it is a second, separate reason to act, and
  it
  is dropped as soon as anything else is known about the object.
- A person's decision is about bytes too: it follows the SHA-256 to every key, and does not apply once a key's bytes
  change.
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
    """Judged (or found unreadable) with its present content: skip it."""
    PENDING = "pending"
    """Flagged or unreadable, not cleared, not acted on: there is nothing to read, but an action can be open."""
    VARIANT = "variant"
    """Not judged, because its original was judged clear: skip it if that is still so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierRow:
    """What the rules need to know of an existing row. ``obj`` is None for legacy rows."""

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
        """Whether the row can be about these bytes; hashes decide if both sides have one."""
        if self.sha256 is not None and sha256 is not None:
            return self.sha256 == sha256
        return self.obj is not None and self.obj.same_content_as(obj)


def holds_no_picture(
    status: ItemStatus, outcome: Outcome | None, sha256: str | None, *, decoder_broke: bool | None
) -> bool:
    """Whether an object may be acted on for being unreadable.

    No, if the decoder broke on it (its content is unknown), if that was never recorded (rows before the
    schema 0002), if its bytes were never read, or if it was readable once.
    """
    return status is ItemStatus.UNREADABLE and outcome is None and sha256 is not None and decoder_broke is False


@dataclass(frozen=True, slots=True, kw_only=True)
class PassTerms:
    """The terms of a pass. ``dry_run`` is only noted in the rows; the ``plan`` decides what is done."""

    run_id: int
    dry_run: bool
    plan: ActionPlan
    decoder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What to write for one result. ``intends`` names the action wanted from now on, if it is new."""

    values: Mapping[str, Any]
    intends: str | None = None
    events: tuple[tuple[EventKind, Mapping[str, Any]], ...] = field(default=())


def still_valid(row: EarlierRow, obj: StoredObject, ruleset: Ruleset) -> Known | None:
    """Why the listed object need not be read; None if it must be.

    A listed object exists, so rows marked gone, done or refused are always rechecked.
    """
    legacy = row.origin is Origin.LEGACY
    if row.status in UNDECODED and row.decoder == NO_DECODER:
        return None  # an admin asked to check it again
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
        return Known.VARIANT if row.status is ItemStatus.VARIANT else None
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
    ``decision`` is what a person decided about the same bytes, under this key or another.
    """
    assessment = result.assessment
    if assessment.verdict is None:
        if row is not None and _keeps_verdict(row, result):
            values = {
                "status": assessment.status,
                "reason": clean_text(assessment.reason),
                "decoder": terms.decoder,
                "variant_of": result.variant_of,
            }
            # The same bytes may be described again (touched, copied in place); a gone object keeps its description from
            # the judgement.
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
    """The result of an object that other detectors did not flag, under a flag that stands on its bytes."""
    return replace(
        result,
        assessment=flag.laid_over(result.assessment),
        reused_from=flag.key if result.reused_from is None else result.reused_from,
    )


def _keeps_verdict(row: EarlierRow, result: ItemResult) -> bool:
    if row.outcome is None:
        return False
    if result.assessment.status is ItemStatus.GONE:
        return True  # the judged bytes are gone; the verdict on them stays true
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
        "variant_of": result.variant_of,
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
    """These bytes are new to us, or replace others: there is no verdict, and no old one may remain."""
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
    """As ``flags.py`` decides, for bytes whose hash is unknown, where it cannot."""
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
    """A detector flagged the same bytes and did not run this time, so the flag was not disproved."""
    values = _facts(row, result, None, terms)
    kept = {name: values[name] for name in ("status", "reason", "decoder")}
    kept["detectors"] = row.detectors | result.assessment.detectors
    if row.action_state in (ActionState.DONE, ActionState.REFUSED):
        # The object still exists: reopen it for the next pass that lists it.
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
    """There is a reason to act; decides what becomes of an earlier intent, and whether there is a new one."""
    if decision is not None and decision.review is Review.CLEARED:
        dropped = [] if row is None else _drops(row, "cleared by a human")
        return Change(values=values, events=(*said, *dropped))
    if action is not None:
        superseded = [] if row is None else _drops(row, "decided again")
        return Change(values=values, intends=action, events=(*said, *superseded))
    if row is not None and row.action_state is ActionState.INTENDED:
        same_reason = row.holds_no_picture == (result.assessment.verdict is None)
        if same_reason and row.same_content_as(result.obj, result.assessment.sha256):
            # An earlier live pass decided it and it may be under way: the decision stays.
            for name in ("judgement", "action_id"):
                values.pop(name)
            return Change(values=values, events=tuple(said))
        return Change(values=values, events=(*said, *_drops(row, "content or reason changed")))
    return Change(values=values, events=tuple(said))


def _drops(row: EarlierRow, why: str) -> list[tuple[EventKind, Mapping[str, Any]]]:
    return [(EventKind.DROPPED, {"why": why})] if row.action_state is ActionState.INTENDED else []


def _unflagged(row: EarlierRow, why: str) -> list[tuple[EventKind, Mapping[str, Any]]]:
    return [(EventKind.UNFLAGGED, {"why": why})] if row.outcome is Outcome.FLAGGED else []
