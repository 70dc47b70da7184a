"""What an admin is told after pictures were removed."""

from __future__ import annotations

from lemmy_safety.pictrs.deletions import why_it_came_back


def test_pictures_that_came_back_are_said_to_come_from_where_it_is_known():
    """Without pict-rs's database, one that was uploaded again cannot be told from one of another server."""
    assert "block far.example in Lemmy" in why_it_came_back(1, ["far.example"])
    unknown = why_it_came_back(2, [])
    assert unknown.startswith("2 removed pictures had come back: uploaded again, or fetched again from another server")
    assert "in Lemmy" not in unknown
