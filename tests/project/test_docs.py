"""What the docs say of options, exit codes and commands is what the code says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from lemmy_safety import errors
from lemmy_safety.cli.app import app
from lemmy_safety.settings import OPTIONS, Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

#: A call of ours in a code line or in backticks, up to its comment, pipe or closing tick.
CALL = re.compile(r"(?:^|`|Scripts\\|bin/|run --rm )lemmy-safety((?: +[^`#|&;\n]+)?)", re.MULTILINE)
RENDERINGS = runpy.run_path(str(ROOT / "scripts" / "write_reference.py"))["RENDERINGS"]


def error_classes(parent=errors.LemmySafetyError):
    for child in parent.__subclasses__():
        yield child
        yield from error_classes(child)


@pytest.mark.parametrize("name", RENDERINGS)
def test_reference_is_up_to_date(name):
    """The committed reference files are what the settings table and the error tree render; else run: make docs."""
    assert (ROOT / name).read_text(encoding="utf-8") == RENDERINGS[name]()


def test_every_option_is_documented_with_help():
    """Each option has a help text and stands with all its names in docs/options.md."""
    text = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    for item in OPTIONS.values():
        assert item.help.endswith((".", ")")), item.name
        assert all(f"`{name}`" in text for name in item.env), item.name


def test_env_example_copied_unchanged_sets_nothing(tmp_path):
    """A .env that is a plain copy of env_example leaves every setting at its default."""
    copy = tmp_path / ".env"
    copy.write_bytes((ROOT / "env_example").read_bytes())
    assert load_settings({}, environ={}, env_file=copy) == load_settings({}, environ={}, env_file=_empty(tmp_path))


def test_env_example_lines_are_valid_once_uncommented(tmp_path):
    """Every commented-out line of env_example is accepted when its # is removed, and none of them is a secret."""
    lines = [
        line[1:] for line in (ROOT / "env_example").read_text().splitlines() if line[:1] == "#" and line[1:2] > "@"
    ]
    names = {line.partition("=")[0] for line in lines}
    assert names == {item.env[0] for item in OPTIONS.values()}
    copy = tmp_path / ".env"
    copy.write_text("\n".join(lines), encoding="utf-8")
    settings = load_settings({}, environ={}, env_file=copy)
    assert isinstance(settings, Settings)
    assert all(getattr(settings, item.name) is None for item in OPTIONS.values() if item.secret)


def _empty(folder: Path) -> Path:
    path = folder / "empty.env"
    path.touch()
    return path


def test_exit_codes_are_distinct():
    """No two error classes share an exit code, none takes 0 (done) or 2 (click's usage error), all fit in a byte."""
    codes = [error.exit_code for error in error_classes()]
    assert len(set(codes)) == len(codes)
    assert not {0, 1, 2} & set(codes)
    assert max(codes) < 128


def test_links_between_documents_lead_somewhere():
    """Every relative link in README, CHANGELOG and docs/ names a file that exists."""
    broken = [
        f"{document.name}: {target}"
        for document in DOCUMENTS
        for target in _links(document.read_text(encoding="utf-8"))
        if "://" not in target and not (document.parent / target.partition("#")[0]).exists()
    ]
    assert broken == []


def documented_calls():
    for document in DOCUMENTS:
        for match in CALL.finditer(document.read_text(encoding="utf-8")):
            yield f"{document.name}: {match[0].strip()}", match[1].split()


def test_documented_calls_exist():
    """Every command and flag that the documents show is one that the command line knows."""
    seen = set()
    for where, words in documented_calls():
        command, rest = app, [word for word in words if word != "..."]
        while rest and not rest[0].startswith("-") and rest[0] in getattr(command, "commands", {}):
            seen.add(rest[0])
            command = command.commands[rest.pop(0)]
        known = {name for parameter in command.params for name in parameter.opts} | {"--help", "-h"}
        assert {word for word in rest if word.startswith("-")} <= known, where
    assert set(app.commands) <= seen


def _links(text: str) -> list[str]:
    return [part.partition(")")[0] for part in text.split("](")[1:] if not part.startswith("#")]
