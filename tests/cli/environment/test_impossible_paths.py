"""Paths that lead nowhere: links in a circle, names that are too long. Each is one line, never a bug."""

from __future__ import annotations

import os
import socket

import pytest
from support.needs import needs

from lemmy_safety.errors import ActionRefused, LedgerDamaged, SettingsError, StorageMissing
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
@needs("process")  # doctor starts programs
def test_neither_does_a_settings_file_that_is_named(call, tmp_path, kind) -> None:
    """On the command line."""
    result = call("doctor", "--quick", "--env-file", impossible(kind, tmp_path))
    assert result.exit_code == SettingsError.exit_code
    assert "settings file" in result.output


def test_settings_of_a_path_with_a_link_in_a_circle_are_read(tmp_path) -> None:
    """What is wrong with it is said by what opens it."""
    assert load_settings(environ={"SQLITE_FILENAME": impossible("a link to itself", tmp_path)})


def not_a_file(kind: str, folder) -> str:
    """The name of something that is neither a file nor missing."""
    path = folder / "here"
    match kind:
        case "device":
            return os.devnull
        case "folder":
            path.mkdir()
        case "named pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(os.path.relpath(path))  # an absolute one can be too long
        case _:
            path.symlink_to("here")
    return str(path)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("kind", ["device", "folder", "named pipe", "socket", "link to itself"])
def test_a_database_is_a_regular_file(call, tmp_path, kind) -> None:
    """Whatever opens it says so before anything is made, beside it too; also under SQLite's own name for it."""
    path = not_a_file(kind, tmp_path)
    before = {each.name for each in tmp_path.iterdir()}
    commands = (
        ("--all", "--dry-run"),
        ("doctor", "--quick"),
        ("flagged",),
        ("db", "upgrade"),
        ("db", "version"),
        ("db", "backup", str(tmp_path / "copy.db")),
    )
    for setting in ({"SQLITE_FILENAME": path}, {"DATABASE_URL": f"sqlite:///file:{path}?uri=true"}):
        for command in commands:
            result = call(*command, env=setting)
            assert f"{path} is not a regular file, but a {kind}." in result.output, command
            assert "set SQLITE_FILENAME to a new file name" in result.output
            assert result.exit_code == LedgerDamaged.exit_code
    assert {each.name for each in tmp_path.iterdir()} == before


@needs("process")  # doctor starts programs
def test_a_link_to_a_database_that_is_not_there_yet_is_fine(call, tmp_path) -> None:
    """It is made where the link leads."""
    (tmp_path / "link.db").symlink_to("real.db")
    env = {"SQLITE_FILENAME": str(tmp_path / "link.db")}
    assert "does not exist yet" in call("doctor", "--quick", env=env).output
    assert call("db", "upgrade", env=env).exit_code == 0
    assert (tmp_path / "real.db").is_file()


def test_a_backup_does_not_replace_a_link_to_itself(call, tmp_path) -> None:
    """Something is there, and it is not a copy of before."""
    assert call("db", "upgrade").exit_code == 0
    result = call("db", "backup", "--force", not_a_file("link to itself", tmp_path))
    assert result.exit_code == ActionRefused.exit_code
    assert "is not a file" in result.output


@pytest.mark.usefixtures("store")
def test_a_database_has_a_name_in_utf8(call, tmp_path) -> None:
    """SQLite takes no other, so it is not one that the first pass makes."""
    for command in (("--all", "--dry-run"), ("doctor", "--quick"), ("flagged",), ("db", "upgrade")):
        result = call(*command, env={"SQLITE_FILENAME": os.fsdecode(bytes(tmp_path) + b"/\xff.db")})
        assert "cannot be used: it is not UTF-8" in result.output, command
        assert result.exit_code == SettingsError.exit_code
