"""The texts that people read use plain words: code with its comments, messages, option help, and documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READ = [
    *sorted((ROOT / "lemmy_safety").rglob("*.py")),
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "env_example")),
    *(ROOT / folder / "README.md" for folder in ("benchmarks", "evaluation")),
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
    r"(?<!there )(?:is|are|was|were) no (?!longer\b|more\b|matter\b)\w+": "is not a",
    r'(?<!")ancestor(?!")': "legacy tool, earlier scripts; the word in quotes is stored in databases",
}


@pytest.mark.parametrize(("word", "instead"), INSTEAD.items(), ids=INSTEAD.values())
def test_plain_words_are_used(word, instead):
    """A reader need not decode a sentence."""
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in READ
        for match in re.finditer(rf"\b(?:{word})\b", path.read_text(encoding="utf-8"), re.IGNORECASE)
    ]
    assert found == [], f"write instead: {instead}"
