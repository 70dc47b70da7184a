"""Names and words in columns: reserved storages, origins of rows, answers, events."""

from __future__ import annotations

from enum import StrEnum

FROM_UPLOAD = "(upload)"
"""Replaces the key if a verdict comes from the hook, not from an object: the bytes were the same, and were read."""

LEGACY = "ancestor"
"""Name of the reserved storage for rows imported from a legacy database, which did not record its storage."""

UNSAID = "unsaid"
"""Name of the reserved storage for uploads of a hook whose settings name no storage."""


class Origin(StrEnum):
    """Where a row's verdict comes from."""

    SCAN = "scan"
    LEGACY = "ancestor"
    """Imported from the legacy tool's database: no hash, no size, no reason, and unknown whether it was acted on."""


class WantedBy(StrEnum):
    """Who wanted an action."""

    PASS = "pass"  # noqa: S105 - not a password
    """A sweep, or a pass of the daemon."""
    COMMAND = "command"
    """A person, with ``delete-flagged``."""
    LEGACY = "legacy"
    """The legacy tool, according to its database."""


class UploadAnswer(StrEnum):
    """Our answer to pict-rs about an upload."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNCHECKED = "unchecked"
    """Accepted by ``HOOK_ON_FAILURE``, because no verdict was ready in time."""


class EventKind(StrEnum):
    """What the append-only audit records. Objects judged clear leave no event: there are millions of them."""

    FLAGGED = "flagged"
    UNFLAGGED = "unflagged"
    """A flagged object was judged again and not flagged, or its content changed."""
    INTENDED = "intended"
    """An action was decided, before it was carried out."""
    DROPPED = "dropped"
    """An intended action is no longer valid: the content changed, or a person cleared it."""
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    REVIEWED = "reviewed"
    TAKEN_OVER = "taken_over"
    """The legacy tool's database was imported."""
    LET_IN = "let_in"
    """An upload was accepted unchecked; the event has its hash and no key."""
