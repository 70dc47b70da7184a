"""What messages advise in the container image, where pip is of no use and files of the host have other owners."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety import installing
from lemmy_safety.errors import MissingExtra
from lemmy_safety.ledger.database.urls import parse_url
from lemmy_safety.permissions import how_to_make_readable

ROOT = Path(__file__).resolve().parents[3]

only_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can act as another user"
)


@pytest.fixture
def image(tmp_path, monkeypatch):
    """An environment that holds the file of the Dockerfile, in the place of this one."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))

    def built_with(extras):
        (tmp_path / installing.IMAGE_EXTRAS_FILE).write_text(f"{extras}\n", encoding="ascii")

    return built_with


def test_outside_of_the_image_a_missing_extra_is_installed_by_pip():
    """As ever."""
    assert "pip install 'lemmy-safety[web]'" in MissingExtra("web", needed_for="The upload hook").hint


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("uv-receipt.toml", "uv pip install --python '{}' "),
        ("pipx_metadata.json", "pipx runpip 'lemmy safety' install "),
        ("pyvenv.cfg", "pip install "),
    ],
)
def test_outside_of_the_image_the_tool_that_made_the_environment_adds_packages(tmp_path, monkeypatch, file, command):
    """uv's environments have no pip, and a shell's pip is not pipx's. Both mark their environments by a file."""
    environment = tmp_path / "lemmy safety"
    environment.mkdir()
    (environment / file).touch()
    monkeypatch.setattr(sys, "prefix", str(environment))
    command = command.format(environment)
    assert installing.how_to_install_extra("web") == f"Install them with: {command}'lemmy-safety[web]'"
    assert installing.how_to_install("oracledb") == f"Install it with: {command}oracledb"
    assert installing.how_to_install_again("av") == f"Install it again: {command}--force-reinstall av"
    assert installing.how_to_install_all_again() == f"Install them again: {command}--force-reinstall lemmy-safety"


@pytest.mark.parametrize(
    ("extras", "missing", "wanted"),
    [
        ("clip,web", "postgres", "clip,web,postgres"),
        ("web", "nudenet", "web,nudenet"),
        ("web,heic", "web", "web,heic"),
        ("", "web", "web"),
    ],
)
def test_in_the_image_a_missing_extra_is_built_in_beside_the_others(image, extras, missing, wanted):
    """The command can be pasted: it has the extras of now and the one that is missing."""
    image(extras)
    hint = MissingExtra(missing, needed_for="Something").hint
    assert hint.endswith(f"docker compose build --build-arg EXTRAS={wanted}")
    assert "pip" not in hint


def test_the_image_of_a_release_says_how_to_do_without_clip(image):
    """The image has none, though the default settings ask for it."""
    image("nudenet,heic,jxl,web,postgres")
    hint = MissingExtra("clip", needed_for="The clip detector").hint
    assert "docker compose build --build-arg EXTRAS=nudenet,heic,jxl,web,postgres,clip " in hint
    assert "in a release's unpacked source" in hint
    assert hint.endswith("(to flag only what is on hash lists, without it: DETECTORS=hashes,nudenet)")
    assert "DETECTORS" not in MissingExtra("web", needed_for="The upload hook").hint


def test_no_hint_in_the_image_says_only_pip_install(image):
    """Neither for a package that no extra has, nor for one that is damaged."""
    image("web")
    assert "FROM lemmy-safety" in installing.how_to_install("oracledb")
    assert "docker compose build" in installing.how_to_install_again("nudenet")


def _no_record(name):
    raise metadata.PackageNotFoundError(name)


def test_the_hints_are_those_of_the_rooms(image, monkeypatch):
    """A database whose driver is not built in, neither its files nor pip's record of it: the message of the ledger itself."""
    image("web")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setattr(metadata, "distribution", _no_record)
    with pytest.raises(MissingExtra, match="EXTRAS=web,postgres"):
        parse_url("postgresql://user:word@127.0.0.1/x")


def test_a_package_of_which_only_the_record_is_left_is_built_again_from_the_start(image, monkeypatch):
    """Building it in beside the others would find it installed."""
    image("web,postgres")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtra, match=r"damaged here .*docker compose build --no-cache"):
        parse_url("postgresql://user:word@127.0.0.1/x")


def test_no_other_file_of_the_program_advises_pip():
    """New hints go through ``installing``, or the image gets one that does not work there."""
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "lemmy_safety").rglob("*.py")
        if "pip install" in path.read_text(encoding="utf-8")
    }
    assert found == {"lemmy_safety/installing.py"}


def test_the_dockerfile_writes_the_file_that_the_hints_look_for():
    """Into the folder that is ``sys.prefix`` in the image."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f'echo "$EXTRAS" >/venv/{installing.IMAGE_EXTRAS_FILE}' in text
    assert "PATH=/venv/bin:" in text


def as_user_991(module, use, path):
    """What a process says that has become user 991 after it imported ``module``, which that user might not be able to."""
    code = (
        f"import os, sys; from pathlib import Path; import lemmy_safety.{module} as room; path = Path(sys.argv[1]); "
        f"os.setgroups([]); os.setgid(991); os.setuid(991); {use}"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@only_root
@pytest.mark.parametrize(
    ("owner", "mode", "said"),
    [
        (1000, 0o600, "belongs to user 1000, and this runs as user 991: sudo chown 991 "),
        (0, 0o600, "belongs to user 0, and this runs as user 991: sudo chown 991 "),
        (991, 0o000, "permissions (000) keep its own user 991 out: chmod 600 "),
    ],
)
@pytest.mark.parametrize("name", ["SSH_PRIVKEY", "SSH_KNOWN_HOSTS"])
def test_a_file_of_another_owner_is_explained(open_folder, name, owner, mode, said):
    """As user 991, which has no name on the host: whose the key or known_hosts is, and the command that helps."""
    file = open_folder / "secret"
    file.write_text("x")
    os.chown(file, owner, owner)
    file.chmod(mode)
    module, use = {
        "SSH_PRIVKEY": ("storage.ssh.private_keys", "list(room.PrivateKeys(path, None, None).candidates())"),
        "SSH_KNOWN_HOSTS": ("storage.ssh.known_hosts", "room.KnownHosts([path], 'host', 22).key_types()"),
    }[name]
    assert f"{said}{file}" in as_user_991(module, use, file)


@only_root
def test_a_folder_that_may_not_be_entered_is_named(open_folder):
    """Not the file is at fault then."""
    closed = open_folder / "ssh"
    closed.mkdir(mode=0o700)
    (closed / "key").write_text("x")
    told = as_user_991("permissions", "print(room.how_to_make_readable(path))", closed / "key")
    assert f"may not enter the folder {closed}" in told


@pytest.fixture
def open_folder():
    """A folder that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder


@given(
    st.lists(st.sampled_from(["clip", "web", "heic", "jxl", "postgres"]), unique=True),
    st.sampled_from(["nudenet", "web"]),
)
def test_what_is_built_in_loses_no_extra(tmp_path_factory, extras, missing):
    """Whatever the image has: the command keeps it all, names nothing twice, and adds what is missing."""
    folder = tmp_path_factory.mktemp("prefix")
    (folder / installing.IMAGE_EXTRAS_FILE).write_text(",".join(extras))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "prefix", str(folder))
        wanted = installing.how_to_install_extra(missing).rpartition("EXTRAS=")[2].split(",")
    assert set(wanted) == {*extras, missing}
    assert len(wanted) == len(set(wanted))


def test_a_file_of_our_own_is_explained_by_its_mode(tmp_path):
    """The user is right, the permissions are not."""
    if sys.platform == "win32":
        pytest.skip("Windows has no modes")
    (tmp_path / "key").touch(mode=0o200)
    assert "chmod 600" in how_to_make_readable(tmp_path / "key")
