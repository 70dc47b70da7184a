"""What the package imports is declared, with a floor: what another package happens to bring today it may drop tomorrow."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

#: Beside what is always installed: the extras that each room's imports may come from.
EXTRAS_OF_ROOMS = {
    "web": ["web"],
    "relay": ["web"],
    "uploads": ["web"],
    "detectors": ["clip", "nudenet", "openvino"],
    "media": ["heic", "jxl"],
    "ledger": ["postgres"],
    "pictrs": ["postgres"],
}

#: Where the standard library's type stubs are not installed as a package.
_STUBS = {"_typeshed"}

#: What ``boto3-stubs[s3]`` brings.
_STUBS_OF_BOTO3 = "mypy-boto3-s3"

_OPENERS = {"import_module", "find_spec"}


def normal(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirements: list[str]) -> set[str]:
    return {normal(re.match(r"[A-Za-z0-9._-]+", text)[0]) for text in requirements}


def imported(code: str) -> tuple[set[str], set[str]]:
    """Top-level modules of others that this code imports when it runs, and those only for type checkers."""

    def modules(node: ast.AST) -> list[str]:
        match node:
            case ast.Import():
                return [alias.name for alias in node.names]
            case ast.ImportFrom(module=str(module), level=0):
                return [module]
            case ast.Call(
                func=ast.Name(id=opener) | ast.Attribute(attr=opener), args=[ast.Constant(value=str(module)), *_]
            ):
                return [module] if opener in _OPENERS else []
        return []

    tree = ast.parse(code)
    guarded = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    running, typing = set(), set()
    for node in ast.walk(tree):
        (typing if node in guarded else running).update(name.partition(".")[0] for name in modules(node))
    ours = {*sys.stdlib_module_names, "lemmy_safety", *_STUBS}
    return running - ours, typing - ours


def undeclared(modules: set[str], declared: set[str]) -> set[str]:
    """Modules that no declared distribution holds; where one is not installed its name decides."""
    owners = _owners()
    return {name for name in modules if not {normal(owner) for owner in owners.get(name, [name])} & declared}


_owners = functools.cache(packages_distributions)  # reads the file lists of all that is installed


def rooms() -> list[str]:
    package = ROOT / "lemmy_safety"
    return sorted(
        path.relative_to(package).parts[0]
        for path in package.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    )


@pytest.mark.parametrize("room", rooms())
def test_what_a_room_imports_is_declared(room):
    """In the project's dependencies, or in an extra that the room is for; what only type checkers read, also in ``dev``."""
    place = ROOT / "lemmy_safety" / room
    running, typing = set(), set()
    for file in [place] if place.is_file() else place.rglob("*.py"):
        runs, checks = imported(file.read_text(encoding="utf-8"))
        running |= runs
        typing |= checks
    declared = named(PROJECT["dependencies"]).union(*(named(EXTRAS[extra]) for extra in EXTRAS_OF_ROOMS.get(room, [])))
    assert undeclared(running, declared) == set()
    assert undeclared(typing, declared | named(EXTRAS["dev"]) | {_STUBS_OF_BOTO3}) == set()


def test_migrations_import_what_is_declared():
    """They travel in the wheel as well."""
    for file in (ROOT / "alembic").rglob("*.py"):
        assert undeclared(imported(file.read_text(encoding="utf-8"))[0], named(PROJECT["dependencies"])) == set()


@pytest.mark.parametrize("group", ["dependencies", *(name for name in EXTRAS if name not in ("all", "dev", "test"))])
def test_every_dependency_has_a_floor(group):
    """The oldest version that may be installed is a decision, not a chance."""
    for requirement in PROJECT["dependencies"] if group == "dependencies" else EXTRAS[group]:
        assert ">=" in requirement, requirement


@pytest.mark.parametrize(
    ("code", "running", "typing"),
    [
        ("import h11", {"h11"}, set()),
        ("def later():\n    from cryptography.hazmat import x", {"cryptography"}, set()),
        ("import os, json.decoder", set(), set()),
        ("from . import near\nfrom lemmy_safety.web import app", set(), set()),
        ("if TYPE_CHECKING:\n    from starlette.types import Scope", set(), {"starlette"}),
        ("if TYPE_CHECKING:\n    import a1\nelse:\n    import b1", {"b1"}, {"a1"}),
        ("importlib.import_module('onnxruntime')", {"onnxruntime"}, set()),
        ("try:\n    import termios, uvloop\nexcept ImportError:\n    pass", {"uvloop"}, set()),
    ],
)
def test_imports_are_found(code, running, typing):
    """At the top, inside of functions, behind conditions, and by name."""
    assert imported(code) == (running, typing)


def test_a_package_that_another_one_brings_does_not_count_as_declared():
    """h11 comes with uvicorn, and is not uvicorn."""
    assert undeclared({"h11", "uvicorn", "PIL"}, named(["uvicorn[standard]>=0.34", "Pillow>=11"])) == {"h11"}


def test_the_packages_that_are_tried_for_damage_are_those_always_installed():
    """By the names under which they are installed again."""
    from lemmy_safety.packages import ALWAYS_NEEDED, DECODING_PACKAGES  # noqa: PLC0415

    assert {normal(name) for name in ALWAYS_NEEDED.values()} == named(PROJECT["dependencies"])
    brought_by = packages_distributions()
    assert all(normal(name) in map(normal, brought_by[module]) for module, name in ALWAYS_NEEDED.items())
    assert set(DECODING_PACKAGES) <= set(ALWAYS_NEEDED)
