"""Which folders a listing may leave out: never one that holds a wanted key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from lemmy_safety.pictrs.keys import make_key
from lemmy_safety.storage.wanted_keys import WantedKeys

MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2038, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
KEYS = st.one_of(
    st.builds(make_key, MOMENTS, st.integers(0, 2**74 - 1), st.sampled_from(["", ".webp"])),
    st.lists(st.sampled_from(["a", "b", "01", "0", "é", "\U0001f600"]), min_size=1, max_size=4).map("/".join),
)


@given(
    key=KEYS,
    prefix=st.one_of(st.just(""), KEYS),
    cut=st.integers(0, 40),
    after=st.one_of(st.just(""), KEYS),
    data=st.data(),
)
def test_every_folder_above_a_wanted_key_is_looked_into(key: str, prefix: str, cut: int, after: str, data) -> None:
    """Otherwise an upload would never be seen."""
    created_from = data.draw(st.one_of(st.none(), MOMENTS))
    if data.draw(st.booleans()):
        prefix = key[:cut]
    wanted = WantedKeys(prefix=prefix, after=after, created_from=created_from)
    assume(wanted.wants(key))
    parts = key.split("/")[:-1]
    folders = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    assert wanted.folder in ["", *folders]
    assert all(wanted.leads_to_wanted(folder) for folder in folders)


def test_what_is_proven_older_is_left_out() -> None:
    """That is what makes a listing of new objects cheap."""
    now = datetime(2026, 11, 1, 12, tzinfo=UTC)
    wanted = WantedKeys(created_from=now)
    old, new = make_key(now - timedelta(hours=6), 1), make_key(now + timedelta(seconds=1), 2)
    assert not wanted.leads_to_wanted(old[:8])
    assert wanted.leads_to_wanted(new[:8])
    assert not wanted.leads_to_wanted("1/23")
    assert wanted.folder == "01"
    assert not wanted.wants(old)
    assert wanted.wants(new)
    assert not wanted.wants("1/23/legacy")
