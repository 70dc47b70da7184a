"""The hours in which long work pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.pauses import Pauses, parse_pauses, zone_named
from lemmy_safety.settings import variable

if TYPE_CHECKING:
    from lemmy_safety.settings import Settings


def build_pauses(settings: Settings) -> Pauses:
    """:raises SettingsError: there are pauses, and TZ names an unknown time zone."""
    if not settings.pause:
        return Pauses()
    return Pauses(parse_pauses(settings.pause), zone_named(variable("TZ")))
