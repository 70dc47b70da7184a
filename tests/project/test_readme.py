"""The README's terminal session and first commands are run, and the Makefile has every target that the documents name."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from lemmy_safety.cli.demo.store import build_store, present_keys

ROOT = Path(__file__).resolve().parents[2]
SESSION = runpy.run_path(str(ROOT / "scripts" / "write_session.py"))
call, masked, rerun, shown = (SESSION[name] for name in ("call", "masked", "rerun", "shown"))


def test_the_session_is_what_its_commands_print():
    """The console block shows what a dry run over the sample store and a list of its flags print; else run: make docs."""
    session = shown()
    assert "$ lemmy-safety --all --dry-run" in session
    assert "$ lemmy-safety flagged" in session
    assert masked(rerun(session)) == masked(session)


def test_masks_hide_times_speeds_and_keys_and_nothing_else():
    """Another minute, speed, key or order of objects is the same session; another count, word or column is not."""
    session = (
        "seen 48\nspeed 4.2 images/s over 11.5 s\n2026-11-30 12:28  01/a1/6a63.webp  canary\n2026-11-30 12:28  2/0/4/8c"
    )
    again = (
        "seen 48\nspeed 38.0 images/s over 1.2 s\n2027-01-02 00:01  2/0/4/8c\n2027-01-02 00:01  02/b3/9f00.webp  canary"
    )
    assert masked(session) == masked(again)
    for old, new in (
        ("seen 48", "seen 47"),
        ("canary", "sha256"),
        (".webp", ".png"),
        ("2/0/4", "2/0/5"),
        ("  0", " 0"),
    ):
        assert old in session
        assert masked(session.replace(old, new)) != masked(session)


def test_the_first_commands_work_in_their_order(tmp_path):
    """All under "Start with your own storage" but installation and daemon, on the sample store; --yes for the question."""
    section = _section("Start with your own storage")
    commands = re.findall(r"^(lemmy-safety +[^#\n]*[^#\s])", section, re.MULTILINE)
    assert [command.split()[1] for command in commands] == [
        "env-example",
        "doctor",
        "estimate",
        "--all",
        "flagged",
        "review",
        "delete-flagged",
    ]
    store = build_store(tmp_path / "files")
    kept = min(store.canaries)
    for command in commands:
        asks = command == "lemmy-safety delete-flagged"
        call(command.replace("KEY", kept) + " --yes" * asks, tmp_path)
    assert present_keys(tmp_path / "files") == store.keys - store.canaries | {kept}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/install.md"])
def test_the_makefile_has_every_target_that_is_named(name):
    """``make demo``, ``make test`` and the others exist."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))
    assert named
    assert named <= targets


def _section(title: str) -> str:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return readme.partition(f"## {title}\n")[2].partition("\n## ")[0]
