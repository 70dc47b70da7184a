"""What a person reads about damage is words, whatever a library raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.media.complaints import complaint_of


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError(0), "KeyError: 0"),
        (IndexError(-1), "IndexError: -1"),
        (ValueError(""), "ValueError"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (ValueError("bad\nheader"), "bad header"),
        (ValueError("%"), "ValueError: %"),
    ],
)
def test_a_number_alone_is_no_complaint(error, text) -> None:
    """The kind of error stands before what would say nothing by itself."""
    assert complaint_of(error) == text


@given(st.builds(ValueError, st.text() | st.integers()))
def test_every_complaint_has_a_word_and_one_line(error) -> None:
    """Printable, and never empty."""
    text = complaint_of(error)
    assert any(char.isalpha() for char in text)
    assert text.isprintable()
