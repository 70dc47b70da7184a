"""How many examples hypothesis tries: all of them in the gate, a tenth in `make quick`."""

from __future__ import annotations

from hypothesis import settings

QUICK = "quick"


def examples(count: int) -> int:
    """``count``, or a tenth of it (at least 5) where the profile is `make quick`'s."""
    return max(count // 10, 5) if settings.get_current_profile_name() == QUICK else count
