"""Conditions that queries share, and the partial indexes that serve them.

Each index holds only the few rows in question, so the cost of finding them depends on their number, not on the 10
million
rows of the table. An index serves a query only if the query uses exactly the expression given here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, ColumnElement, Index, Text, and_, literal_column, or_, type_coerce

from lemmy_safety.ledger.schema.tables import actions, images, metadata, uploads
from lemmy_safety.ledger.schema.values import UploadAnswer
from lemmy_safety.records import ActionState, Domain, ItemStatus, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable


def _is(column: Column[object], *values: str) -> ColumnElement[bool]:
    """The column equals one of the values, written into the SQL.

    A partial index serves a query only if the query's text implies the index's condition, so neither may use
    parameters here. The values are our own enumerations, never input.
    """
    return or_(*(column == literal_column(f"'{value}'") for value in values))


def may_act(outcomes: ColumnElement[Any], domains: Iterable[str] = tuple(Domain)) -> ColumnElement[bool]:
    """Whether a flagged row is in one of these domains, of those that this version knows. NULL means csam alone.

    Flags that another version set in another domain stay as they are and have no effect.

    This searches the text, because SQLite may lack JSON functions. The search is exact: JsonText writes no blanks, the
    name of a domain has no quotes in it (``DOMAIN_NAME``, enforced by ``Verdict``), and the quotes around it exclude
    longer
    names. No index serves it, so a query needs another condition that finds few rows.
    """
    text = type_coerce(outcomes, Text)
    flagged = (f'"{domain}":"{Outcome.FLAGGED.value}"' for domain in domains)
    return or_(outcomes.is_(None), *(text.contains(part, autoescape=True) for part in flagged))


IS_FLAGGED = _is(images.c.outcome, Outcome.FLAGGED)
IS_INTENDED = _is(actions.c.state, ActionState.INTENDED)
IS_RETRYABLE = _is(images.c.status, *(status for status in ItemStatus if not status.settled))
IS_UNREADABLE = _is(images.c.status, ItemStatus.UNREADABLE)
IS_REFUSED = _is(actions.c.state, ActionState.REFUSED)
#: Undecodable, and an admin asked to check it again: ``NO_DECODER`` replaces the name of the decoder.
IS_READ_AGAIN = and_(
    _is(images.c.status, ItemStatus.UNREADABLE, ItemStatus.UNSUPPORTED, ItemStatus.TOO_LARGE),
    images.c.decoder == literal_column("''"),
)
#: Another size of an original that is judged clear; not read.
IS_VARIANT = _is(images.c.status, ItemStatus.VARIANT)
#: Accepted without a verdict, and none since.
IS_UNCHECKED = and_(_is(uploads.c.answer, UploadAnswer.UNCHECKED), uploads.c.judged_at.is_(None))

#: Flagged in a domain in which this version may act.
FLAGGED: ColumnElement[bool] = and_(IS_FLAGGED, may_act(images.c.outcomes))
#: Undecodable, and never judged.
UNREADABLE: ColumnElement[bool] = and_(IS_UNREADABLE, images.c.outcome.is_(None))

#: No pass could judge it, for any reason; of those that are gone, the ones that were never judged. Variants had no
#: need to be judged.
UNJUDGED: ColumnElement[bool] = and_(
    images.c.status.not_in([ItemStatus.CHECKED, ItemStatus.VARIANT]),
    or_(images.c.status != ItemStatus.GONE, images.c.outcome.is_(None)),
)

for _name, _columns, _condition in (
    ("ix_images_flagged", (images.c.id,), IS_FLAGGED),
    ("ix_actions_intended", (actions.c.image_id,), IS_INTENDED),
    ("ix_images_retryable", (images.c.storage_id, images.c.checked_at), IS_RETRYABLE),
    ("ix_images_unreadable", (images.c.id,), IS_UNREADABLE),
    ("ix_actions_refused", (actions.c.image_id,), IS_REFUSED),
    ("ix_images_read_again", (images.c.storage_id, images.c.checked_at), IS_READ_AGAIN),
    ("ix_images_variant_of", (images.c.storage_id, images.c.variant_of), IS_VARIANT),
    ("ix_uploads_unchecked", (uploads.c.first_at, uploads.c.sha256), IS_UNCHECKED),
):
    Index(_name, *_columns, sqlite_where=_condition, postgresql_where=_condition)

#: All tables with all of their indexes.
SCHEMA = metadata
