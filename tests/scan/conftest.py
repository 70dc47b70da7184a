"""A store with two canaries, and where its verdicts go."""

from __future__ import annotations

import pytest
from support.scan.scanned_store import fill_store


@pytest.fixture
def store(tmp_path):
    """Ten harmless pictures and two canaries (``CANARIES``)."""
    root = tmp_path / "files"
    fill_store(root)
    return root


@pytest.fixture
def database(tmp_path):
    return tmp_path / "lemmy_safety.db"
