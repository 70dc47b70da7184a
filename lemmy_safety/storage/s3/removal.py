"""One deletion, verified: at its end the object is gone, or an error says why it is not.

The answer to DELETE alone proves neither. Servers with retention or soft delete answer 204 and keep the object. An
answer
can be lost on the way; the repeated request is then refused, because the object no longer exists.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lemmy_safety.errors import (
    AccessDenied,
    LoginRefused,
    ObjectChanged,
    ObjectGone,
    StorageError,
    StorageMissing,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.records import StoredObject

#: Seconds before each check after a reported deletion: a store of several machines may need a moment.
PAUSES_S = (0.0, 0.2, 1.0)

_HINT_KEPT = "Look for object lock, a retention rule or an account that may not delete; then run this again."


def see_through(
    ask: Callable[[], None], look: Callable[[], StoredObject], present: StoredObject, *, place: str
) -> None:
    """Send a deletion with ``ask`` and check its result with ``look`` (as ``Storage.stat``). ``present`` is the object.

    :raises StorageError: AccessDenied, the server refused or did not do it; StorageUnreachable, the result is unknown.
    """
    kept: StorageError = AccessDenied(
        f"{present.key!r} in {place}: the server says that it was deleted, but it is still there.", hint=_HINT_KEPT
    )
    try:
        ask()
        said_done = True
    except ObjectGone:
        said_done = True
    except (LoginRefused, StorageMissing):
        raise
    except ObjectChanged as error:
        # We set no condition, so a conflict is a refusal: some servers answer 409 for what a retention rule protects.
        kept, said_done = AccessDenied(error.message, hint=_HINT_KEPT), False
    except StorageError as error:
        kept, said_done = error, False
    for pause in PAUSES_S if said_done else PAUSES_S[:1]:
        time.sleep(pause)
        if _is_gone(look, present, said_done=said_done, kept=kept):
            return
    raise kept


def _is_gone(look: Callable[[], StoredObject], present: StoredObject, *, said_done: bool, kept: StorageError) -> bool:
    try:
        current = look()
    except ObjectGone:
        return True
    except AccessDenied:
        # It was readable before the deletion. For an account that may not list, 403 means "not there".
        if said_done:
            return True
        raise kept from None
    except StorageError:
        if said_done:
            raise
        raise kept from None
    # Ignores tags: some servers give another one each time. Anything stored in its place since is another object.
    return (current.size, current.modified_at) != (present.size, present.modified_at)
