"""Keys and prefixes as arguments and on stdin, also those of files whose names are not UTF-8."""

from __future__ import annotations

import json
import os
import sys

import pytest

ODD_NAME = b"01/cc/\xff\xfe\\.png"
ODD_KEY = r"01/cc/\xff\xfe\\.png"
CANARY = "01/aa/canary.png"

COMMANDS = (
    ("review", "clear"),
    ("review", "confirm"),
    ("delete-flagged", "--yes"),
    ("delete-flagged", "--dry-run"),
    ("recheck",),
    ("unreadable",),
    ("unreadable", "--retry"),
)


@pytest.fixture
def odd_store(call, store):
    """The local store with a canary more, whose name is not UTF-8, after a dry run."""
    if os.name == "nt" or sys.platform == "darwin":
        pytest.skip("file systems there hold Unicode names only")
    store.put(os.fsdecode(ODD_NAME), (store.folder / CANARY).read_bytes() + b"other bytes")
    assert call("--all", "--dry-run").exit_code == 0
    return store


def flagged(call) -> set[str]:
    return {row["key"] for row in json.loads(call("flagged", "--json").stdout)}


@pytest.mark.parametrize("typed", [os.fsdecode(ODD_NAME), ODD_KEY])
def test_a_name_is_typed_as_it_is_on_disk_or_as_it_is_listed(call, odd_store, typed) -> None:
    """What was cleared so is not deleted."""
    result = call("review", "clear", typed, CANARY)
    assert result.exit_code == 0, result.output
    assert ODD_KEY not in flagged(call)
    assert call("delete-flagged", "--yes").exit_code == 0
    assert {os.fsdecode(ODD_NAME), CANARY} <= odd_store.present()


def test_names_are_read_from_stdin_as_they_are_on_disk(call, odd_store) -> None:
    """As ``find`` writes them."""
    result = call("review", "clear", "-", stdin=ODD_NAME + b"\r\n\n" + CANARY.encode() + b"\n")
    assert result.exit_code == 0, result.output
    assert not flagged(call) & {ODD_KEY, CANARY}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_stdin_of_any_locale_is_read(command, odd_store, tmp_path, encoding) -> None:
    """Python alone would refuse bytes that are not text."""
    (tmp_path / "keys").write_bytes(ODD_NAME + "\né\n".encode())
    code = (
        f"import sys; sys.stdin = open({str(tmp_path / 'keys')!r}, encoding={encoding!r})\n"
        "from lemmy_safety.cli.input.keys import chosen_keys; print(ascii(chosen_keys(['-'])))"
    )
    assert command(code=code).communicate()[0].strip() == ascii([ODD_KEY, "é"])


@pytest.mark.usefixtures("odd_store")
@pytest.mark.parametrize("arguments", COMMANDS)
def test_each_command_with_keys_takes_such_a_name(call, arguments) -> None:
    """``unreadable`` knows it as one that was judged."""
    result = call(*arguments, os.fsdecode(ODD_NAME))
    assert "cannot be" not in result.output
    assert result.exit_code == (50 if arguments[0] == "unreadable" else 0), result.output


@pytest.mark.parametrize(
    ("named", "stdin", "said"),
    [
        ([CANARY, ""], None, "A KEY is empty; nothing was changed"),
        ([CANARY, "-"], b"01/b\0b\n", r"01/b\x00b cannot be a KEY: it has NUL in it; nothing was changed"),
    ],
)
def test_what_cannot_be_a_key_ends_the_command_before_it_begins(call, store, named, stdin, said) -> None:
    """The keys beside it, too, are left as they were."""
    assert call("--all", "--dry-run").exit_code == 0
    before = flagged(call)
    for arguments in COMMANDS:
        result = call(*arguments, *named, stdin=stdin)
        assert result.exit_code == 2
        assert said in result.output
    assert flagged(call) == before
    assert CANARY in store.present()


def test_a_prefix_is_typed_as_it_is_on_disk(call, odd_store, monkeypatch) -> None:
    """On the command line and in the environment; only what begins with it is judged."""
    prefix = os.fsdecode(ODD_NAME[:7])
    assert json.loads(call("--all", "--dry-run", "--json", "--prefix", prefix).stdout)["seen"] == 1
    monkeypatch.setenv("LEMMY_SAFETY_PREFIX", prefix)
    assert json.loads(call("--all", "--dry-run", "--json").stdout)["seen"] == 1
