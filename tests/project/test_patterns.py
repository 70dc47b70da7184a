"""Strangers choose the bytes that are searched; no search may take more than time in proportion to their number."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
from support.linear_patterns import fault_of

import lemmy_safety

PACKAGE = Path(lemmy_safety.__file__).parent
#: There are more patterns than this; fewer would mean that they are not found.
MANY = 40
#: What calls ``re`` on the spot: on patterns and texts that the admin or this package wrote.
OWN_TEXTS = {"storage/ssh/known_hosts.py", "cli/checks/all.py"}
#: Reads the admin's own settings file and nothing else.
OWN_SETTINGS = "settings"


def calls_of_re(tree):
    """All calls of functions of ``re`` in a syntax tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == "re":
                yield node


def patterns_tried_at_one_place(tree):
    """The calls that make a module's private patterns of which it uses nothing but ``match`` and ``fullmatch``."""
    made = {
        node.target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id.startswith("_")
    }
    matched = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"match", "fullmatch"} and isinstance(node.value, ast.Name)
    ]
    used_otherwise = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node not in matched
    }
    return [made[name.id] for name in matched if name.id in made and name.id not in used_otherwise]


def patterns_of(path):
    """Every pattern of one file by its place, compiled; those put together from constants with their module's names.

    And whether it is only ever tried at one place.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    at_one_place = patterns_tried_at_one_place(tree)
    for call in calls_of_re(tree):
        if call.func.attr == "compile":
            names = {"re": re}
            if not isinstance(call.args[0], ast.Constant):
                module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
                names = vars(importlib.import_module(module))
            compiled = eval(ast.unparse(call), names)  # noqa: S307 - a line of our own source
            yield f"{path.relative_to(PACKAGE)}:{call.lineno}", (compiled, call in at_one_place)


@pytest.mark.long
def test_no_pattern_is_more_than_linear():
    """By its structure, a search reads each byte a bounded number of times, whatever the bytes are."""
    paths = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] != OWN_SETTINGS]
    patterns = {place: pattern for path in paths for place, pattern in patterns_of(path)}
    assert len(patterns) > MANY
    faults = {place: fault_of(pattern, anchored=anchored) for place, (pattern, anchored) in patterns.items()}
    assert {place: fault for place, fault in faults.items() if fault} == {}


@pytest.mark.long
def test_patterns_are_constants_of_their_modules():
    """A pattern that is put together on the spot would not be seen by the test above."""
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).as_posix() not in OWN_TEXTS:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
            assert [call.func.attr for function in functions for call in calls_of_re(function)] == [], path
            assert {call.func.attr for call in calls_of_re(tree)} <= {"compile"}, path


@pytest.mark.parametrize(
    "expression",
    [
        rb"<(?:li|Description)\b[^<>]*Item:[^<>]*>",
        rb"<[^>]*+>",
        rb"(a+)+b",
        rb"(?:a|aa)+$",
        rb"\s+=",
        rb"x[a-z]*y",
        rb"(?:a{1,100}){1,100}b",
        r"a(?:b|c)*d",
        rb"(?:a(?=a*+b))++",
        rb"(?!.{100}[^x]*+y)x",
    ],
)
def test_what_can_be_slow_is_found(expression):
    """The rules know the shapes that have hurt: giving back, beginning again within what was read, repetitions multiplied."""
    assert fault_of(re.compile(expression)) != ""


@pytest.mark.parametrize(
    "expression",
    [rb"<[^<>]*+>", rb"\Ax[a-z]*+y", rb"a{1,16}b", rb"/9j/[A-Za-z/]*", r"=\s*+\d{1,9}", rb"(?:(?!ab)a.{3})++"],
)
def test_what_cannot_be_slow_is_left_alone(expression):
    """A pattern that keeps the rules is none to worry about."""
    assert fault_of(re.compile(expression)) == ""


def test_only_what_is_tried_at_one_place_may_pass_over_beginnings():
    """The same pattern is linear for ``match``, and is not for a search that begins again at every place."""
    pattern = re.compile(rb"(?:!.{2})++\0")
    assert fault_of(pattern) != ""
    assert fault_of(pattern, anchored=True) == ""
    tree = ast.parse(
        "_A: Final = re.compile('a')\n_B: Final = re.compile('b')\n_A.match('')\n_B.match('')\n_B.search('')"
    )
    assert [ast.unparse(call) for call in patterns_tried_at_one_place(tree)] == ["re.compile('a')"]
