"""How pict-rs is reached if not directly: what this room needs of a tunnel. Who makes one is the wiring's affair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from lemmy_safety.errors import LemmySafetyError

#: Where a tunnel begins.
HOST: Final = "127.0.0.1"


class Tunnel(Protocol):
    """A port of this machine that leads to pict-rs, or to its database. Safe for several threads."""

    @property
    def port(self) -> int:
        """On ``HOST``; valid after ``ready``."""

    def ready(self) -> None:
        """Open it, or again if it broke.

        :raises LemmySafetyError: it cannot be opened; a PictrsUnreachable may pass.
        """

    def failure(self) -> LemmySafetyError | None:
        """Why a connection through it did not come about, since ``ready``; nothing was sent then."""

    def close(self) -> None:
        """Close it. Its clients are closed first."""
