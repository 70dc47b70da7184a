"""Secrets and keys: hard to guess, compared as texts, and a wrong one is said only now and then."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.access import complaints
from lemmy_safety.access.complaints import Complaints
from lemmy_safety.access.secrets import Secrets, check_key
from lemmy_safety.errors import SettingsError

KEY = "key-of-the-workers-0123456789"


@pytest.mark.parametrize("key", ["", "~", "~short", "~fifteen-chars.", KEY[:15]])
def test_a_key_must_be_there_and_hard_to_guess(key) -> None:
    """On every address, for proxies and other programs reach 127.0.0.1 as well."""
    check_key(KEY)
    check_key(KEY[:16])
    with pytest.raises(SettingsError) as caught:
        check_key(key)
    assert not key or key not in str(caught.value)
    assert "secrets.token_urlsafe" in caught.value.hint


@given(st.text(max_size=30), st.lists(st.text(max_size=30), max_size=3))
def test_secrets_are_compared_as_texts(offered, secrets) -> None:
    """Any text can be offered, and any of the secrets opens."""
    assert Secrets(secrets).match([offered]) is (offered in secrets)
    assert Secrets(secrets).match(["", offered]) is (offered in secrets or "" in secrets)
    assert Secrets(secrets).match([]) is False
    assert bool(Secrets(secrets)) is (secrets != [])


def test_trouble_is_said_once_in_ten_seconds_with_what_was_left_unsaid(monkeypatch) -> None:
    """The first at once; then the next one that comes when ten seconds are over tells how many came before it."""
    now = 1000.0
    monkeypatch.setattr(complaints.time, "monotonic", lambda: now)
    trouble = Complaints()
    assert trouble.due() == 0
    now = 1009.9
    assert [trouble.due() for _ in range(3)] == [None, None, None]
    now = 1010.0
    assert trouble.due() == 3
    assert trouble.due() is None
    now = 1020.0
    assert trouble.due() == 1
