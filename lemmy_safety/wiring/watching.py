"""The daemon."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lemmy_safety.wiring.acting import build_action_plan
from lemmy_safety.wiring.pausing import build_pauses
from lemmy_safety.wiring.scanning import open_scanner

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from lemmy_safety.daemon import Daemon
    from lemmy_safety.scan import ProgressListener
    from lemmy_safety.settings import Settings
    from lemmy_safety.wiring.storage import AskPassphrase


@contextmanager
def open_daemon(
    settings: Settings,
    *,
    stop: threading.Event,
    listener: ProgressListener | None = None,
    ask_passphrase: AskPassphrase | None = None,
) -> Iterator[Daemon]:
    """A daemon that watches the storage; it runs until ``stop`` is set.

    :raises LemmySafetyError: as ``open_scanner``.
    """
    from lemmy_safety.daemon import Daemon, DaemonOptions

    options = DaemonOptions(
        minutes=settings.minutes,
        interval_s=settings.interval_s,
        full_listing_hours=settings.full_listing_hours,
        model_ttl_s=settings.model_ttl,
        flagged_action=build_action_plan(settings).flagged,
        pauses=build_pauses(settings),
    )
    with open_scanner(settings, stop=stop, listener=listener, ask_passphrase=ask_passphrase) as scanner:
        yield Daemon(scanner, options, stop=stop)
