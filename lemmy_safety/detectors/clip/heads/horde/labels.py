"""What horde_safety's rules can say of a picture."""

from __future__ import annotations

NSFW = "nsfw"

LABELS = ("csam", "underage_subject", NSFW)
"""Gravest first. The older rules know no ``underage_subject``."""
