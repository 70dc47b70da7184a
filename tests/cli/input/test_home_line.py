"""Limits for an admin whose line at home is also used for other things."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("text", ["0", "-1", "0.01", "1e9", "5 Mbit", "5M", "nan", "inf", "five", "1,5"])
def test_a_limit_that_is_none_is_refused_in_one_line(call, text):
    """Too small to finish anything, too large to be meant, or with a unit: what is wrong, and what is allowed."""
    result = call("--all", env={"LEMMY_SAFETY_MAX_MBIT": text})
    assert result.exit_code == 3
    assert f"LEMMY_SAFETY_MAX_MBIT: {text!r} is not valid" in result.stderr
    assert "0.1 to 100000" in result.stderr
    assert len(result.stderr.splitlines()) <= 2
