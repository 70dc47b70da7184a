"""Conditions that queries share, and the partial indexes that serve them.

Each index holds only the few rows in question, so that asking for them costs what they are, not what 10 million rows are.
It serves a query only if that uses the very expression given here.
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
    """Of what is flagged: whether it is in one of these domains, those that this version knows. NULL stands for csam alone.

    What another version has flagged in another domain stays as it is, and nothing follows from it.

    The text is searched, because SQLite need not have JSON functions. That is exact: JsonText writes no blanks, a name of a
    domain has no quotes in it (``DOMAIN_NAME``, kept by ``Verdict``), and the quotes around it keep longer names out. No index
    serves it, so a query needs another condition that finds few rows.
    """
    text = type_coerce(outcomes, Text)
    flagged = (f'"{domain}":"{Outcome.FLAGGED.value}"' for domain in domains)
    return or_(outcomes.is_(None), *(text.contains(part, autoescape=True) for part in flagged))


IS_FLAGGED = _is(images.c.outcome, Outcome.FLAGGED)
IS_INTENDED = _is(actions.c.state, ActionState.INTENDED)
IS_RETRYABLE = _is(images.c.status, *(status for status in ItemStatus if not status.settled))
IS_UNREADABLE = _is(images.c.status, ItemStatus.UNREADABLE)
IS_REFUSED = _is(actions.c.state, ActionState.REFUSED)
#: No decoder made a picture of it, and an admin asked for another look: ``NO_DECODER`` stands in place of the one that looked.
IS_READ_AGAIN = and_(
    _is(images.c.status, ItemStatus.UNREADABLE, ItemStatus.UNSUPPORTED, ItemStatus.TOO_LARGE),
    images.c.decoder == literal_column("''"),
)
#: Accepted without a verdict, and none since.
IS_UNCHECKED = and_(_is(uploads.c.answer, UploadAnswer.UNCHECKED), uploads.c.judged_at.is_(None))

#: Flagged in a domain in which this version may act.
FLAGGED: ColumnElement[bool] = and_(IS_FLAGGED, may_act(images.c.outcomes))
#: No picture can be made of it, and it was never judged.
UNREADABLE: ColumnElement[bool] = and_(IS_UNREADABLE, images.c.outcome.is_(None))

#: No pass could judge it, for whatever reason; among those that are gone, what was never judged.
UNJUDGED: ColumnElement[bool] = and_(
    images.c.status != ItemStatus.CHECKED, or_(images.c.status != ItemStatus.GONE, images.c.outcome.is_(None))
)

for _name, _columns, _condition in (
    ("ix_images_flagged", (images.c.id,), IS_FLAGGED),
    ("ix_actions_intended", (actions.c.image_id,), IS_INTENDED),
    ("ix_images_retryable", (images.c.storage_id, images.c.checked_at), IS_RETRYABLE),
    ("ix_images_unreadable", (images.c.id,), IS_UNREADABLE),
    ("ix_actions_refused", (actions.c.image_id,), IS_REFUSED),
    ("ix_images_read_again", (images.c.storage_id, images.c.checked_at), IS_READ_AGAIN),
    ("ix_uploads_unchecked", (uploads.c.first_at, uploads.c.sha256), IS_UNCHECKED),
):
    Index(_name, *_columns, sqlite_where=_condition, postgresql_where=_condition)

#: All tables with all of their indexes.
SCHEMA = metadata
