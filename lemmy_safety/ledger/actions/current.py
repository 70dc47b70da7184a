"""The action that applies to an object now, as columns next to the object's own."""

from __future__ import annotations

from sqlalchemy import and_, func, or_, select

from lemmy_safety.ledger.schema.columns import EnumText
from lemmy_safety.ledger.schema.tables import actions, images
from lemmy_safety.records import ActionState, ItemStatus, Review

#: Objects, each with the action that applies to it now, if any.
WITH_ACTION = images.outerjoin(actions, images.c.action_id == actions.c.id)

#: The actions that apply to an object now, each with its object; for queries that match few actions.
ACTING = actions.join(images, and_(actions.c.image_id == images.c.id, images.c.action_id == actions.c.id))

#: Of ``WITH_ACTION``. A dropped action counts as none, but may still report that it was done: it was under way.
ACTION_COLUMNS = (
    actions.c.kind.label("action_wanted"),
    func.coalesce(
        func.nullif(actions.c.state, ActionState.DROPPED.value),
        ActionState.NONE.value,
        type_=EnumText(ActionState),
    ).label("action_state"),
    actions.c.changed_at.label("action_at"),
    actions.c.detail.label("action_detail"),
    actions.c.approved_at.label("action_approved_at"),
    actions.c.asks_since.label("action_asks_since"),
)

#: Of ``WITH_ACTION``: nothing has been carried out yet.
IS_NOT_DONE = or_(actions.c.state.is_(None), actions.c.state != ActionState.DONE)

#: Objects with the columns that the rules need.
EARLIER = select(
    images.c.id,
    images.c.storage_id,
    images.c.key,
    images.c.size,
    images.c.modified_at,
    images.c.etag,
    images.c.sha256,
    images.c.status,
    images.c.decoder,
    images.c.decoder_broke,
    images.c.outcome,
    images.c.detectors,
    images.c.action_id,
    *ACTION_COLUMNS,
    images.c.judgement,
    images.c.review,
    images.c.review_note,
    images.c.review_at,
    images.c.origin,
    images.c.run_id,
    images.c.failed_passes,
).select_from(WITH_ACTION)

#: Of ``WITH_ACTION``: flagged or unreadable objects that were neither acted on nor cleared by a person. Only a done
#: action closes a row; a failed, refused or unknown one stays open for a person to see.
IS_OPEN = and_(images.c.review != Review.CLEARED, images.c.status != ItemStatus.GONE, IS_NOT_DONE)
