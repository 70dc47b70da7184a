"""How far a storage's clock is from this machine's: the storage's clock sets the modification times."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from lemmy_safety.storage.learned import Learned

#: Servers report their time in whole seconds.
_GRAIN = timedelta(seconds=1)

#: A difference between two clocks that is worth reporting; a slow answer looks like a few seconds.
_TOLERANCE = timedelta(seconds=10)

_TOPIC = "clock"


class StorageClock:
    """Compared each time a storage that can report its time is opened."""

    def __init__(self, learned: Learned) -> None:
        self._learned = learned
        #: How far it is ahead of this machine's, as last compared; zero if it cannot be compared.
        self.ahead = timedelta(0)

    def compare(self, place: str, told: datetime, asked_at: datetime, answered_at: datetime) -> None:
        """The storage called ``place`` reported its time (aware) between these two times of this machine."""
        if asked_at <= told + _GRAIN and told <= answered_at:
            self.ahead = timedelta(0)
        else:
            self.ahead = told - (asked_at + (answered_at - asked_at) / 2)
        if abs(self.ahead) <= _TOLERANCE:
            self._learned.forget(_TOPIC)
            return
        self._learned.note(
            place,
            f"has a clock that is {_in_words(abs(self.ahead))} {'ahead of' if self.ahead > timedelta(0) else 'behind'} this "
            "machine's; passes allow for it. Set the clock that is wrong.",
            topic=_TOPIC,
        )


def _in_words(span: timedelta) -> str:
    """Coarse enough to stay the same when it is measured again."""
    seconds = span.total_seconds()
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}s"
    return f"{round(seconds, -1):.0f} seconds"
