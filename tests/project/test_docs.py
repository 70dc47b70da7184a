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
PACKAGE = ROOT / "lemmy_safety"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]

#: A call of ours in a code line or in backticks, up to its comment, pipe or closing tick.
CALL = re.compile(r"(?:^(?:\$ )?|`|Scripts\\|bin/|run --rm )lemmy-safety((?: +[^`#|&;\n]+)?)", re.MULTILINE)
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
    """Every relative link in a document names a file that exists."""
    broken = [
        f"{document.name}: {target}"
        for document in DOCUMENTS
        for target in _links(document.read_text(encoding="utf-8"))
        if "://" not in target and not (document.parent / target.partition("#")[0]).exists()
    ]
    assert broken == []


def test_links_to_headings_lead_to_one():
    """Each ``#anchor`` is a heading of the document that it points into, as GitHub names headings."""
    broken = [
        f"{document.name}: {target}"
        for document in DOCUMENTS
        for target in _links(document.read_text(encoding="utf-8"), also_within=True)
        if "://" not in target and "#" in target and not _has_heading(document, target)
    ]
    assert broken == []


def test_every_page_can_be_reached_from_the_readme():
    """A page that no link leads to is read by no one."""
    reached, left = set(), {ROOT / "README.md"}
    while left:
        document = left.pop()
        reached.add(document)
        named = {
            (document.parent / target.partition("#")[0]).resolve() for target in _links(document.read_text("utf-8"))
        }
        left |= {page for page in named if page.suffix == ".md" and page.is_file()} - reached
    assert set(DOCUMENTS) - reached == set()


def test_the_index_says_of_every_page_what_it_holds():
    """docs/index.md has one line for each document, with a link and a description."""
    index = ROOT / "docs" / "index.md"
    rows = re.findall(r"^\| \[[^]]+\]\(([^)#]+)\) \| (.{20,}) \|$", index.read_text(encoding="utf-8"), re.MULTILINE)
    described = [(index.parent / target).resolve() for target, _ in rows]
    assert len(set(described)) == len(described)
    assert set(DOCUMENTS) - set(described) == {index, ROOT / "README.md"}


def test_contributing_names_files_and_folders_that_exist():
    """Each path in backticks, from the root or below lemmy_safety/."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w./-]+(?:\.(?:py|md|toml)|/))`", text)
    assert len(named) > 20
    assert [name for name in named if not any((place / name).exists() for place in (ROOT, PACKAGE))] == []


def test_the_architecture_names_files_and_folders_that_exist():
    """Below "Inside `room/`" they are that room's. Rooms that are planned are named in one section only."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    missing = []
    for section in re.split(r"^(?=##)", text.partition("## Where later work attaches")[0], flags=re.MULTILINE):
        inside = re.match(r"### Inside `([^`]+)`", section)
        room = PACKAGE / inside[1] if inside else PACKAGE
        named = [match[1] for match in re.finditer(r"`([\w./-]+(?:\.py|/))`", section)]
        places = (ROOT, PACKAGE, room)
        missing += [name for name in named if not any((place / name).exists() for place in places)]
    assert missing == []


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


def _links(text: str, *, also_within: bool = False) -> list[str]:
    """What the links of a document point to; those into the document itself only if asked for."""
    targets = [part.partition(")")[0] for part in text.split("](")[1:]]
    return [target for target in targets if also_within or not target.startswith("#")]


def _has_heading(document: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    page = document.parent / path if path else document
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
