"""Damage to files that hypothesis chooses, and makes smaller where a test fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from hypothesis.strategies import DataObject, SearchStrategy


def drawn_damage(data: DataObject, original: bytes, values: SearchStrategy[int], *, most: int) -> bytes:
    """The file with up to ``most`` bytes set to ``values``, and a stretch of it lost or doubled, or its end."""
    mutated = bytearray(original)
    places = st.integers(0, len(mutated) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, values), max_size=most)):
        mutated[place] = value
    start, end = sorted((data.draw(places), data.draw(places)))
    change = data.draw(st.sampled_from(["none", "cut", "drop", "double"]))
    if change == "cut":
        del mutated[end:]
    elif change == "drop":
        del mutated[start:end]
    elif change == "double":
        mutated[end:end] = mutated[start:end]
    return bytes(mutated)
