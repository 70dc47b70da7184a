"""The labels of horde_safety's rules."""

from __future__ import annotations

NSFW = "nsfw"

LABELS = ("csam", "underage_subject", NSFW)
"""Gravest first. The older rules have no ``underage_subject``."""
