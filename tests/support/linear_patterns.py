"""Whether a regular expression can be made to read a byte more than a few times, told from its structure alone.

A search is linear if no two of its tries read the same stretch. Four rules are enough for that, and simple to keep:

- a repetition without an upper bound gives nothing back (it is possessive, or nothing behind it can fail);
- it cannot pass over the character that every match begins with, so that the next try begins behind it, unless the pattern
  is anchored or can no longer fail;
- what looks ahead has a bound;
- bounded repetitions within each other multiply, and the product is small.
"""

from __future__ import annotations

import re

# Python has no public parser of its own expressions.
from re import _compiler, _constants, _parser  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How many characters a try may read beside what unbounded repetitions read.
MOST_READ: Final = 1_000
_REPEATS: Final = (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT)


def fault_of(pattern: re.Pattern[Any], *, anchored: bool = False) -> str:
    """What can make a search by this pattern more than linear, for a person; empty where nothing can.

    ``anchored``: it is only ever tried at one place.
    """
    tree = list(_parser.parse(pattern.pattern, pattern.flags))
    anchored = anchored or (bool(tree) and tree[0] == (_constants.AT, _constants.AT_BEGINNING_STRING))
    return next(_Walk(pattern, restarts=not anchored).faults(tree, rest_can_fail=False), "")


class _Walk:
    """One walk through a pattern. ``restarts``: a search tries at every place."""

    def __init__(self, pattern: re.Pattern[Any], *, restarts: bool) -> None:
        self._pattern = pattern
        self._restarts = restarts

    def faults(self, tree: Any, *, rest_can_fail: bool, bound: int = 1) -> Iterator[str]:
        nodes = list(tree)
        for place, (operation, argument) in enumerate(nodes):
            can_fail = rest_can_fail or any(map(_can_fail, nodes[place + 1 :]))
            if operation in _REPEATS and argument[1] is _constants.MAXREPEAT:
                yield from self._of_unbounded(operation, argument, can_fail=can_fail)
            elif operation in _REPEATS:
                _, most, inner = argument
                if bound * most > MOST_READ:
                    yield f"up to {bound * most} repetitions of {_written(inner)}"
                yield from self.faults(inner, rest_can_fail=can_fail, bound=bound * max(1, most))
            elif operation in {_constants.ASSERT, _constants.ASSERT_NOT}:
                if _is_unbounded(argument[1]):
                    yield f"{_written(argument[1])} looks ahead without a bound"
                yield from self.faults(argument[1], rest_can_fail=True, bound=bound)
            elif operation is _constants.GROUPREF:
                yield f"{operation} is not understood here"
            else:
                for inner in _inside(operation, argument):
                    yield from self.faults(inner, rest_can_fail=can_fail, bound=bound)

    def _of_unbounded(self, operation: Any, argument: Any, *, can_fail: bool) -> Iterator[str]:
        least, _, inner = argument
        if can_fail and operation is not _constants.POSSESSIVE_REPEAT:
            yield f"{_written(inner)} gives back what it has read"
        if can_fail and self._restarts and _passes_over_beginnings(inner, self._pattern):
            yield f"{_written(inner)} passes over places where the next try begins"
        yield from self.faults(inner, rest_can_fail=least > 0 or len(list(inner)) > 1)


def _is_unbounded(tree: Any) -> bool:
    """Whether anything in it can be repeated without a bound."""
    for operation, argument in tree:
        if operation in _REPEATS and (argument[1] is _constants.MAXREPEAT or _is_unbounded(argument[2])):
            return True
        if operation in {_constants.ASSERT, _constants.ASSERT_NOT}:
            inside = [argument[1]]
        else:
            inside = [] if operation in _REPEATS else _inside(operation, argument)
        if any(map(_is_unbounded, inside)):
            return True
    return False


def _inside(operation: Any, argument: Any) -> list[Any]:
    """What a group or a choice has in it."""
    if operation is _constants.BRANCH:
        return list(argument[1])
    if operation is _constants.SUBPATTERN:
        return [argument[-1]]
    return [argument] if operation is _constants.ATOMIC_GROUP else []


def _can_fail(node: Any) -> bool:
    operation, argument = node
    return not (operation in _REPEATS and argument[0] == 0)


def _passes_over_beginnings(inner: Any, pattern: re.Pattern[Any]) -> bool:
    """Whether a repetition can read a character that a match of the pattern begins with."""
    flags = pattern.flags
    read = _compiler.compile(inner, flags) if len(list(inner)) == 1 else None
    first = set(_first(list(_parser.parse(pattern.pattern, flags)), pattern))
    return read is None or any(read.fullmatch(character) for character in first)


def _first(nodes: list[Any], pattern: re.Pattern[Any]) -> Iterator[Any]:
    """Characters that a match can begin with; more than there are where an item in front may be left out."""
    for operation, argument in nodes:
        if operation is _constants.AT:
            continue
        if operation is _constants.SUBPATTERN:
            yield from _first(list(argument[-1]), pattern)
            return
        if operation is _constants.BRANCH:
            for branch in argument[1]:
                yield from _first(list(branch), pattern)
            return
        if operation in _REPEATS:
            yield from _first(list(argument[2]), pattern)
            if argument[0] == 0:
                continue
            return
        yield from _one(operation, argument, pattern)
        return


def _one(operation: Any, argument: Any, pattern: re.Pattern[Any]) -> Iterator[Any]:
    single = _parser.parse("" if isinstance(pattern.pattern, str) else b"", pattern.flags)
    single.data = [(operation, argument)]
    matches = _compiler.compile(single, pattern.flags)
    for number in range(256):
        character = chr(number) if isinstance(pattern.pattern, str) else bytes([number])
        if matches.fullmatch(character):
            yield character


def _written(inner: Any) -> str:
    return f"a repetition of {str(list(inner))[:60]}"
