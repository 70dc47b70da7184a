"""Whether a name that is not one of ours was meant to be. Because of an overlooked setting a pass may delete."""

from __future__ import annotations

import difflib
import re
import unicodedata
from typing import TYPE_CHECKING

from lemmy_safety.settings.option import ENV_PREFIX
from lemmy_safety.settings.table import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Names under our prefix that are not options: which file to read, and click's completion switch.
ENV_FILE_NAME = ENV_PREFIX + "ENV_FILE"
RESERVED = frozenset({ENV_FILE_NAME, "_LEMMY_SAFETY_COMPLETE"})

#: Every name that an option has, and the option.
OURS = {name: item for item in OPTIONS.values() for name in item.env}

#: Bare names that restrain a run. Other programs do not use them, so they count in the environment too.
_OURS_ALONE = frozenset({"DRY_RUN", "SKIP_UNREADABLE"})

#: Prefixes that people use instead of our whole prefix: LEMMY_DRY_RUN, FEDI_SAFETY_DETECTORS.
_HALF_PREFIX = re.compile("(?:LEMMY|SAFETY|FEDIVERSE|FEDI)+")

#: Names that belong to another program with half of our prefix: this one is Lemmy's own.
_OTHERS_WITH_HALF = frozenset({"DATABASE_URL"})

#: Bare names that mean something else to other programs, even in a ``.env`` file that they share with us.
_OTHERS_TOO = frozenset({"DEBUG"})

#: An unknown name in ``.env`` that is this similar to one of ours counts as a misspelling (difflib ratio).
_TYPO_RATIO = 0.85
_CANDIDATES = 5

#: Letters that may differ: 2 are one wrong letter, two swapped, or two missing ones; 4 in a name of 14 letters or more.
_UNMATCHED = 2
_UNMATCHED_LONG = 4
_LONG = 14

#: A bare name shorter than this resembles too many words, so it is only compared for equality.
_SHORTEST_BARE = 6

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_CAPITALS = re.compile(r"[A-Z_][A-Z0-9_]*")
_WORD = re.compile(r"[\w.-]+")
_ASSIGNED = re.compile(r"(?:^|[\s;,&|])([A-Za-z_][A-Za-z0-9_.-]*)[^\S\n]*[=:]", re.MULTILINE)


def _letters(name: str) -> str:
    """A name without case, separators, quotes and invisible characters."""
    return "".join(char for char in unicodedata.normalize("NFKC", name).upper() if char.isalnum())


_PREFIX_LETTERS = _letters(ENV_PREFIX)
_FULL: dict[str, str] = {_letters(name): name for name in sorted({*OURS, ENV_FILE_NAME})}
_BARE: dict[str, str] = {
    name.removeprefix(ENV_PREFIX): name for name in (item.env[0] for item in OPTIONS.values()) if ENV_PREFIX in name
}

_AFTER_HALF: dict[str, str] = {
    _letters(name.removeprefix(ENV_PREFIX)): OURS[name].env[0]
    for name in OURS
    if name.removeprefix(ENV_PREFIX) not in _OTHERS_WITH_HALF | _OTHERS_TOO
}


def is_plain(name: str) -> bool:
    """Whether it has the form of a variable's name."""
    return _PLAIN.fullmatch(name) is not None


def may_stand_alone(name: str) -> bool:
    """Whether it can be a name for docker compose to pass on from its environment, not a part of a value above."""
    return _CAPITALS.fullmatch(name) is not None


def meant(name: str, *, in_file: bool) -> str | None:
    """Our name that this one was probably meant to be; None if it belongs to another program or is correct.

    The environment holds variables of many programs, so there only our prefix or half of it, bare names that restrain a
    run, and names with a typing error count. ``.env`` is our file, though docker compose may read it as well: there our
    names without their prefix count too, and anything that resembles one of our names.
    """
    if name in OURS or name in RESERVED:
        return None
    letters = _letters(name)
    if letters in _FULL:
        return _FULL[letters]
    if _has_our_prefix(name) and letters != _PREFIX_LETTERS:
        return _most_similar(letters)
    half = _HALF_PREFIX.match(letters)
    if half is not None and letters[half.end() :] in _AFTER_HALF:
        return _AFTER_HALF[letters[half.end() :]]
    return _meant_bare(name, letters, in_file=in_file) or _misspelt(name, letters, in_file=in_file)


def named_by(key: str) -> str | None:
    """Our name in the text before = in ``.env``: equal, probably meant, or contained (``$env:DETECTORS``)."""
    words: list[str] = [key, *_WORD.findall(key)]
    for word in words:
        if word in OURS or word == ENV_FILE_NAME:
            return word
        right = meant(word, in_file=True)
        if right is not None:
            return right
    return None


def is_not_a_setting(name: str, right: str) -> str:
    """The error message."""
    return f"{name} is not a setting. Did you mean {right}?"


def bare_twin(name: str, *, in_file: bool) -> str | None:
    """Our name that equals this one except for the prefix (``DRY_RUN``)."""
    bare = name.upper()
    return _BARE.get(bare) if bare in _bare_names(in_file=in_file) else None


def assigned_in(value: str) -> Iterator[str]:
    """Our names that a value seems to assign: a second setting on its line, or lines after a forgotten quote."""
    for match in _ASSIGNED.finditer(value):
        name = match[1]
        if name in _OURS_ALONE or _is_ours(name):
            yield name
    if "\n" in value:  # even without =
        yield from filter(_is_ours, _WORD.findall(value))


def _is_ours(name: str) -> bool:
    # Not everything with our prefix: lemmy-safety-hook:14051 is a host, and lemmy-safety:latest an image.
    return name in OURS or name.startswith(ENV_PREFIX) or _letters(name) in _FULL


def _has_our_prefix(name: str) -> bool:
    return _letters(name).startswith(_PREFIX_LETTERS)


def _bare_names(*, in_file: bool) -> frozenset[str]:
    return frozenset(_BARE) - _OTHERS_TOO if in_file else _OURS_ALONE


def _meant_bare(name: str, letters: str, *, in_file: bool) -> str | None:
    for bare in sorted(_bare_names(in_file=in_file)):
        short = _letters(bare)
        if letters == short or (len(short) >= _SHORTEST_BARE and _is_slip(name, letters, bare)):
            return _BARE[bare]
    return None


def _misspelt(name: str, letters: str, *, in_file: bool) -> str | None:
    if in_file and name.upper() not in _OTHERS_TOO:
        similar = difflib.get_close_matches(name.upper(), sorted(OURS), n=_CANDIDATES, cutoff=_TYPO_RATIO)
        for ours in similar:
            if not _differ_by_words(name, ours, least=_UNMATCHED + 1):
                return ours
    # Text before one of our names: "$env:" of PowerShell, "-e" of docker run.
    start = letters.find(_PREFIX_LETTERS)
    if start > 0 and letters[start:] in _FULL:
        return _FULL[letters[start:]]
    return next((ours for ours in sorted(OURS) if _is_slip(name, letters, ours)), None)


def _is_slip(name: str, letters: str, ours: str) -> bool:
    """Whether one or two typing errors turn one name into the other."""
    right = _letters(ours)
    shorter = min(len(letters), len(right))
    allowed = _UNMATCHED_LONG if shorter >= _LONG else _UNMATCHED
    return _unmatched(letters, right, at_most=allowed) and not _differ_by_words(name, ours)


def _differ_by_words(name: str, ours: str, *, least: int = 1) -> bool:
    """Whether the names are really different: one has a whole word more or less, or a different word.

    Missing or additional words count if they have ``least`` letters together.
    """
    one, other = name.upper().split("_"), ours.split("_")
    shorter, longer = sorted((one, other), key=len)
    if len(shorter) < len(longer):
        if abs(len("".join(one)) - len("".join(other))) < least:
            return False
        rest = iter(longer)
        return all(any(_is_same_word(word, candidate) for candidate in rest) for word in shorter)
    return not all(_is_same_word(word, right) for word, right in zip(one, other, strict=True))


def _is_same_word(word: str, right: str) -> bool:
    return _unmatched(word, right, at_most=_UNMATCHED)


def _unmatched(one: str, other: str, *, at_most: int) -> bool:
    """Whether all letters of the two together, except ``at_most``, are in the same order in both."""
    if abs(len(one) - len(other)) > at_most:
        return False
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    # Cheap upper bounds first: the environment may hold hundreds of names.
    total = len(one) + len(other)
    if min(matcher.real_quick_ratio(), matcher.quick_ratio()) * total < total - at_most:
        return False
    return total - 2 * sum(block.size for block in matcher.get_matching_blocks()) <= at_most


def _most_similar(letters: str) -> str:
    return _FULL[difflib.get_close_matches(letters, sorted(_FULL), n=1, cutoff=0.0)[0]]
