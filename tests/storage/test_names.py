"""The text form of file names: one key per name, and back."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.errors import BadKey
from lemmy_safety.storage.names import from_key, to_key, typed_key


@given(st.binary())
def test_every_name_survives_the_way_to_its_key_and_back(raw: bytes) -> None:
    """Any bytes come back unchanged, by way of a text that UTF-8 can hold."""
    key = to_key(raw)
    key.encode("utf-8")
    assert from_key(key) == raw


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\")))
def test_utf8_names_are_their_own_key(name: str) -> None:
    """A name in UTF-8 without a backslash is not altered."""
    assert to_key(name.encode()) == name


@given(st.text())
def test_a_key_is_either_refused_or_the_only_one_of_its_name(key: str) -> None:
    """No two keys name the same file."""
    try:
        raw = from_key(key)
    except BadKey:
        return
    assert to_key(raw) == key


def test_the_documented_examples_hold() -> None:
    """What the module promises in prose is so."""
    assert to_key(b"caf\xe9.jpg") == r"caf\xe9.jpg"
    assert to_key(rb"a\b") == r"a\\b"


@pytest.mark.parametrize("key", [r"\x2e\x2e/etc", r"a\x2fb", r"\x41", r"a\b", "a\\", r"\xC3", "\ud800", r"\xc3\xa9"])
def test_escapes_that_hide_something_are_refused(key: str) -> None:
    """Needless, wrong or unfinished escapes are no keys, so that none can mean '..' or '/'."""
    with pytest.raises(BadKey, match="is not the key of any file"):
        from_key(key)


@given(st.binary().filter(lambda raw: b"\0" not in raw))
def test_a_name_that_is_typed_as_it_is_on_disk_is_its_key(raw: bytes) -> None:
    """As Python hands on arguments. What is UTF-8 is taken for a key, in which a backslash is doubled already."""
    typed = os.fsdecode(raw)
    try:
        assert typed_key(typed) == raw.decode()
    except UnicodeDecodeError:
        assert typed_key(typed) == to_key(raw)


@pytest.mark.skipif(os.name == "nt", reason="there such text is a file's name")
def test_a_surrogate_that_stands_for_no_byte_is_no_key() -> None:
    """It cannot be typed, but handed on by a program."""
    with pytest.raises(BadKey):
        typed_key("a\ud800")
