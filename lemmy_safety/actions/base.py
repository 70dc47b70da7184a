"""What can be done about a flagged object. The runner writes intents and outcomes; an action only acts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from lemmy_safety.records import ActionState

if TYPE_CHECKING:
    from lemmy_safety.ledger import PendingAction
    from lemmy_safety.storage.base import Storage


class Wait(StrEnum):
    """What an action waits for, although nothing went wrong."""

    REST = "rest"
    """The object must stay unchanged for a while, or be known for a while."""
    ORIGINAL = "original"
    """Other objects come first: the picture that it was made from has to be judged, or may be removed with it."""
    REMOVAL = "removal"
    """pict-rs accepted the request and removes the picture some time later."""
    BREAKER = "breaker"
    """The circuit breaker is tripped: a person has to decide about all actions."""
    PERSON = "person"
    """A person has to decide about this very picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionResult:
    """How far an action got. INTENDED means: not now, but it stays on the list; ``wait`` says what it waits for.

    ``original``: the key that has to be judged first, if it is known. ``aliases``: how many names in URLs went with the picture.
    ``as_file``: the file was deleted although pict-rs is asked, because its picture is not known. ``came_back``: the same
    bytes were removed before; ``elsewhere``: another process carried it out, and counts it. ``origins`` are the hosts that a proxied picture was a copy from.
    """

    state: ActionState
    detail: str
    wait: Wait | None = None
    original: str | None = None
    aliases: int = 0
    as_file: bool = False
    came_back: bool = False
    origins: tuple[str, ...] = ()
    elsewhere: bool = False


class Action(ABC):
    """One idempotent action: carrying it out twice has the same effect as once.

    An action that takes time is sent once and checked again until it has happened. Errors of each method:

    :raises StorageError: ObjectChanged (nothing was done), AccessDenied, StorageUnreachable, BadKey.
    :raises PictrsError: pict-rs cannot be asked, or refuses.
    """

    #: The name stored with the intent and used in ``--action``.
    name: ClassVar[str]

    #: Whether pict-rs is told. Otherwise it does not know that a file is gone.
    tells_pictrs: ClassVar[bool] = False

    def follow_up(self, storage: Storage, pending: PendingAction) -> ActionResult | None:  # noqa: ARG002
        """What became of it, if it was sent before; None if it was not."""
        return None

    def prepare(self, storage: Storage, pending: PendingAction) -> ActionResult | None:  # noqa: ARG002
        """Find out what will go, without acting; returns None if it may be carried out now."""
        return None

    @abstractmethod
    def carry_out(self, storage: Storage, pending: PendingAction) -> ActionResult:
        """Act on the object if it is still the one that was judged."""


#: Since it was queued, a person cleared the object, it was judged again, or another process carried it out.
NOT_WANTED = ActionResult(state=ActionState.NONE, detail="not wanted any more")


#: Another process carried it out meanwhile, and counts it.
ELSEWHERE = ActionResult(state=ActionState.DONE, detail="carried out meanwhile by another command", elsewhere=True)


def done(detail: str) -> ActionResult:
    return ActionResult(state=ActionState.DONE, detail=detail)


def later(wait: Wait, detail: str) -> ActionResult:
    return ActionResult(state=ActionState.INTENDED, detail=detail, wait=wait)
