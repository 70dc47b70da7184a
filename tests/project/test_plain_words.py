"""The texts that people read use plain words: code with its comments, messages, option help, documents, and the tests."""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
#: Read whole: docstrings, comments, messages, hints, log lines, option help.
READ = [
    *sorted((ROOT / "lemmy_safety").rglob("*.py")),
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "env_example")),
    *(ROOT / folder / "README.md" for folder in ("benchmarks", "evaluation")),
]

#: Of these the docstrings, comments and reasons for a skip; their other strings are data.
READ_IN_PART = [
    path
    for folder in ("tests", "scripts", "benchmarks", "evaluation")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != Path(__file__).resolve()
]

#: The word, and what a native speaker would write.
INSTEAD = {
    r"anew": "again",
    r"deeds?": "action",
    r"idem": "same reason",
    r"mends?": "fix",
    r"nobody": "no one, or another subject",
    r"shall": "must, will",
    r"somebody|whoever": "a plain subject: the caller, a person",
}

#: Words that data and names of tests still need.
INSTEAD_IN_TEXTS = INSTEAD | {
    r"(?<!there )(?:is|are|was|were) no (?!longer\b|more\b|matter\b)\w+": "is not a",
    r'(?<!")ancestor(?!")': "legacy tool, earlier scripts; the word in quotes is stored in databases",
    r"looks at|looked at": "checks, checked, examined, reviewed",
    r"heeds?": "observes",
    r"thereby": "and so",
    r"for want of": "because ... ran out, without",
    r"It is not said": "the thing that is missing: no server is set",
}


@pytest.mark.parametrize(("word", "instead"), INSTEAD_IN_TEXTS.items(), ids=INSTEAD_IN_TEXTS.values())
def test_plain_words_are_used(word, instead):
    """A reader need not decode a sentence."""
    found = [f"{path.relative_to(ROOT)}: {match}" for path in READ for match in _found(word, path.read_text("utf-8"))]
    assert found == [], f"write instead: {instead}"


@pytest.mark.parametrize(("word", "instead"), INSTEAD.items(), ids=INSTEAD.values())
def test_tests_and_scripts_explain_themselves_in_plain_words(word, instead):
    """Their docstrings say how the program behaves."""
    found = [
        f"{path.relative_to(ROOT)}: {match}"
        for path in READ_IN_PART
        for text in _explanations_in(path)
        for match in _found(word, text)
    ]
    assert found == [], f"write instead: {instead}"


def test_explanations_are_found_and_data_is_not():
    """Docstrings, comments and skip reasons are searched; a string that a test works with is left alone."""
    source = (
        '"""mend"""\n# anew\nname = "nobody"\n\n\n'
        'def test_it():\n    """deed"""\n    pytest.skip("whoever")\n    mark.skipif(True, reason="shall")\n'
    )
    text = "\n".join(explanations(source))
    assert [word for word in ("mend", "anew", "nobody", "deed", "whoever", "shall") if word in text] == [
        "mend",
        "anew",
        "deed",
        "whoever",
        "shall",
    ]


def explanations(source: str) -> Iterator[str]:
    """The comments, docstrings and skip reasons of a module."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "skip":
            yield from (ast.unparse(argument) for argument in node.args)
        elif isinstance(node, ast.keyword) and node.arg == "reason":
            yield ast.unparse(node.value)


@functools.cache
def _explanations_in(path: Path) -> tuple[str, ...]:
    return tuple(explanations(path.read_text("utf-8")))


def _found(word: str, text: str) -> list[str]:
    return [match[0] for match in re.finditer(rf"\b(?:{word})\b", text, re.IGNORECASE)]
