"""What an exception of others says goes through ``foreign`` before it becomes part of a text of ours."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lemmy_safety

PACKAGE = Path(lemmy_safety.__file__).parent

#: Decoders run in processes that have no secret (tests/media/test_decoder_environment.py); their texts come from there.
WITHOUT_SECRETS = {"media", "detectors/clip/encoders/openvino_build.py"}
#: It searches for secrets itself.
THE_EXIT = "cli/output/redaction.py"


def classes_of_ours(trees):
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def foreign_names(tree, ours):
    """For each function and handler: the names in it that hold exceptions which can be others'."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.name and node.type is not None:
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            if not all(isinstance(each, ast.Name) and each.id in ours for each in caught):
                yield node, {node.name}
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = [*node.args.args, *node.args.kwonlyargs]
            yield (
                node,
                {
                    each.arg
                    for each in arguments
                    if each.annotation is not None
                    and any(
                        name.rpartition(".")[2] not in ours and name.endswith(("Exception", "Error"))
                        for name in ast.unparse(each.annotation).replace(" ", "").strip("'\"").split("|")
                    )
                },
            )


def shown_as_they_are(tree, ours):
    """The lines where such a name becomes text: ``f"{error}"`` and ``str(error)``, unless it is only searched."""
    searched = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        or (isinstance(node, ast.Attribute) and node.attr in {"startswith", "lower"})
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"search", "match"}
        )
        for inner in ast.walk(node)
    }
    for scope, names in foreign_names(tree, ours):
        for node in ast.walk(scope):
            if isinstance(node, ast.FormattedValue):
                text = node.value
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str" and node.args:
                text = node.args[0]
            else:
                continue
            if isinstance(text, ast.Name) and text.id in names and id(node) not in searched:
                yield node.lineno


@pytest.mark.long
def test_no_exception_of_others_is_shown_as_it_is() -> None:
    """It may repeat a secret, and the exit hides none that is a common word."""
    paths = sorted(PACKAGE.rglob("*.py"))
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    ours = classes_of_ours(trees.values())
    found = set()
    for path, tree in trees.items():
        name = path.relative_to(PACKAGE).as_posix()
        if name != THE_EXIT and name not in WITHOUT_SECRETS and name.partition("/")[0] not in WITHOUT_SECRETS:
            found |= {f"{name}:{line}" for line in shown_as_they_are(tree, ours)}
    assert found == set()


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("try: f()\nexcept OSError as e: g(f'no: {e}.')", True),
        ("try: f()\nexcept (Ours, OSError) as e: g(str(e).strip())", True),
        ("def f(e: OSError | None): return f'{e!r}'", True),
        ("def f(*, e: 'vendor.SomeError'): return str(e)", True),
        ("try: f()\nexcept OSError as e: g(f'no: {foreign(e)}.')", False),
        ("try: f()\nexcept OSError as e: g('full' in str(e), str(e).lower(), _FULL.search(str(e)))", False),
        ("try: f()\nexcept Ours as e: g(f'no: {e}.')", False),
        ("def f(e: Ours, n: int): return f'{e} {n}'", False),
    ],
)
def test_what_shows_an_exception_is_found(code, shown) -> None:
    """In handlers and in functions that are given one; not where it is ours, or is searched and not shown."""
    assert bool(list(shown_as_they_are(ast.parse(code), {"Ours"}))) is shown
