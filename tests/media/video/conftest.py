"""What several tests of videos need."""

from __future__ import annotations

import pytest

from lemmy_safety.media.moving import video as videos


@pytest.fixture
def skimming(monkeypatch):
    """As if every video were a long one."""
    monkeypatch.setattr(videos, "ALL_FRAMES_COST", 0)
