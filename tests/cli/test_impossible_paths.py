"""Paths that lead nowhere: links in a circle, names that are too long. Each is one line, never a bug."""

from __future__ import annotations

import os

import pytest

from lemmy_safety.errors import SettingsError, StorageMissing
from lemmy_safety.settings import load_settings
from lemmy_safety.storage.local import LocalStorage

pytestmark = pytest.mark.skipif(os.name == "nt", reason="making links needs a privilege on Windows")

KINDS = ["a link to itself", "two links in a circle", "below a link to itself", "too long", "too deep", "below a file"]


def impossible(kind: str, folder) -> str:
    """A path below ``folder`` that cannot be a file or a folder."""
    match kind:
        case "a link to itself" | "below a link to itself":
            (folder / "loop").symlink_to("loop")
            return str(folder / "loop" / ("x" if kind.startswith("below") else ""))
        case "two links in a circle":
            (folder / "a").symlink_to("b")
            (folder / "b").symlink_to("a")
            return str(folder / "a")
        case "too long":
            return str(folder / ("n" * 300))
        case "too deep":
            return str(folder / "/".join(["d" * 200] * 30))
        case _:
            (folder / "file").touch()
            return str(folder / "file" / "x")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arguments", [("--all", "--dry-run"), ("doctor", "--quick"), ("delete-flagged", "--yes")])
@pytest.mark.usefixtures("store")
def test_a_folder_that_cannot_be_is_a_missing_folder(call, tmp_path, kind, arguments) -> None:
    """Whatever is asked for."""
    result = call(*arguments, env={"PICTRS_FILES_DIRECTORY": impossible(kind, tmp_path)})
    assert result.exit_code == StorageMissing.exit_code, result.output
    assert "PICTRS_FILES_DIRECTORY" in result.output


def test_a_name_with_nul_is_a_missing_folder() -> None:
    """It cannot come from the environment, but from a program that uses the storage by itself."""
    with pytest.raises(StorageMissing, match="null"):
        LocalStorage("/srv/a\0b").open()


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "name", ["SQLITE_FILENAME", "HASH_LIST", "LEMMY_SAFETY_ENV_FILE", "CLIP_WEIGHTS", "SSH_PRIVKEY"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_no_setting_that_names_a_file_makes_a_bug_of_it(call, tmp_path, name, kind) -> None:
    """One line and its fix where the file is needed; else it plays no part."""
    path = impossible(kind, tmp_path)
    for command in (("--all", "--dry-run"), ("doctor", "--quick"), ("flagged",), ("db", "upgrade")):
        result = call(*command, env={name: path})
        assert "bug" not in result.output, command
        assert result.exit_code != 1, command


@pytest.mark.parametrize("kind", KINDS)
def test_neither_does_a_settings_file_that_is_named(call, tmp_path, kind) -> None:
    """On the command line."""
    result = call("doctor", "--quick", "--env-file", impossible(kind, tmp_path))
    assert result.exit_code == SettingsError.exit_code
    assert "settings file" in result.output


def test_settings_of_a_path_with_a_link_in_a_circle_are_read(tmp_path) -> None:
    """What is wrong with it is said by what opens it."""
    assert load_settings(environ={"SQLITE_FILENAME": impossible("a link to itself", tmp_path)})
