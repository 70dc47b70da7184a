"""An account without a home folder: each command works as far as it needs none, and says so where it does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lemmy_safety import wiring
from lemmy_safety.errors import SettingsError
from lemmy_safety.home import expanded, expanded_if_known
from lemmy_safety.settings import OPTIONS, load_settings
from lemmy_safety.storage.ssh import read_ssh_config
from lemmy_safety.storage.ssh.private_keys import PrivateKeys

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows finds the profile folder elsewhere")

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="only root can become an account that does not exist",
)
UNKNOWN_UID = 54321


@pytest.fixture
def homeless(store, tmp_path, monkeypatch):
    """Run the program as an account that is in no list, in a folder of its own, without HOME."""
    place = tmp_path / "home of none"
    place.mkdir()
    for path in [tmp_path, *tmp_path.parents]:
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)
    for path in [place, store.folder, *store.folder.rglob("*")]:
        os.chown(path, UNKNOWN_UID, UNKNOWN_UID)

    become = ["setpriv", f"--reuid={UNKNOWN_UID}", f"--regid={UNKNOWN_UID}", "--clear-groups"]
    # The interpreter of the tests may lie in root's own home.
    become += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {
            name: os.environ[name] for name in ("PATH", "PYTHONPATH", "PICTRS_FILES_DIRECTORY") if name in os.environ
        }
        return subprocess.run(
            [*become, sys.executable, "-B", "-m", "lemmy_safety", *arguments],
            env={**kept, "DETECTORS": "hashes", **variables}, cwd=place, capture_output=True, text=True, timeout=120,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    run.place = place
    return run


@needs_root
def test_commands_that_need_no_home_work_without_one(homeless) -> None:
    """A sweep, its list, the database and doctor."""
    for arguments in (("--all", "--dry-run"), ("flagged",), ("db", "stats"), ("doctor", "--quick"), ("--help",)):
        result = homeless(*arguments)
        assert result.returncode == 0, (arguments, result.stdout, result.stderr)
        assert "bug" not in result.stderr
    assert not (homeless.place / "~").exists()


@needs_root
@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"SQLITE_FILENAME": "~/x.db"}, "SQLITE_FILENAME"),
        ({"HASH_LIST": "~/list"}, "HASH_LIST"),
        ({"PICTRS_FILES_DIRECTORY": "~/files"}, "PICTRS_FILES_DIRECTORY"),
        (
            {
                "SSH_HOSTNAME": "host.invalid",
                "SSH_USERNAME": "me",
                "LEMMY_SAFETY_STORAGE": "ssh",
                "SSH_KNOWN_HOSTS": "~/known",
            },
            "SSH_KNOWN_HOSTS",
        ),
    ],
)
def test_what_needs_a_home_names_the_setting(homeless, variables, named) -> None:
    """In one line, with what to do; nothing is made in a folder that is called '~'."""
    result = homeless("--all", "--dry-run", **variables)
    assert result.returncode == SettingsError.exit_code
    assert named in result.stderr
    assert "no home folder" in result.stderr
    assert "fix: Write the path out, or set HOME." in result.stderr
    assert not (homeless.place / "~").exists()


@pytest.mark.parametrize(
    ("home", "why"), [("", "HOME is set and empty"), (" ", "HOME is set and empty"), ("x", "HOME is a relative path")]
)
@pytest.mark.parametrize("path", ["~", "~/x", "~/.ssh/known_hosts"])
def test_a_home_that_is_empty_or_relative_is_none(monkeypatch, path, home, why) -> None:
    """Python makes ``/x`` and ``x/x`` of ``~/x`` there, which are other files."""
    monkeypatch.setenv("HOME", home)
    assert expanded_if_known(Path(path)) == Path(path)
    with pytest.raises(SettingsError) as caught:
        expanded(Path(path), what="HASH_LIST")
    assert caught.value.message == f"HASH_LIST: {path!r} cannot be resolved: {why}."


def test_the_root_folder_can_be_a_home(monkeypatch) -> None:
    """It is that of arbitrary accounts in containers."""
    monkeypatch.setenv("HOME", "/")
    assert expanded(Path("~/x"), what="X") == Path("/x")


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"SQLITE_FILENAME": "~/x.db"}, "SQLITE_FILENAME"),
        ({"HASH_LIST": "~/list"}, "HASH_LIST"),
        ({"HASH_LIST": "~/list", "HOME": "relative"}, "HASH_LIST"),
        ({"PICTRS_FILES_DIRECTORY": "~/files"}, "PICTRS_FILES_DIRECTORY"),
        (
            {"SSH_HOSTNAME": "host.invalid", "SSH_KNOWN_HOSTS": "~/known", "LEMMY_SAFETY_STORAGE": "ssh"},
            "SSH_KNOWN_HOSTS",
        ),
        ({"DETECTORS": "clip"}, "CACHE_DIR"),
        ({"DETECTORS": "clip", "CACHE_DIR": "cache"}, "HF_HOME"),
    ],
)
def test_with_an_empty_home_what_needs_one_names_the_setting(command, tmp_path, monkeypatch, variables, named) -> None:
    """In one line, and nothing is made in the working folder in its place."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    values = {"PICTRS_FILES_DIRECTORY": os.environ["PICTRS_FILES_DIRECTORY"], "DETECTORS": "hashes", "HOME": ""}
    process = command("--all", "--dry-run", env={**values, "SSH_CONFIG": "none", **variables})
    _, said = process.communicate(timeout=120)
    assert process.returncode == SettingsError.exit_code, said
    assert named in said
    assert "HOME is " in said
    assert "Traceback" not in said
    assert {path.name for path in place.iterdir()} <= {"lemmy_safety.db"}


@pytest.fixture
def _no_home(monkeypatch) -> None:
    """HOME is unset, and the list of accounts does not know this one."""
    pwd = pytest.importorskip("pwd")

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("_no_home")
@pytest.mark.parametrize("item", [item for item in OPTIONS.values() if item.kind is Path], ids=lambda item: item.name)
def test_a_path_below_home_is_no_fault_until_it_is_needed(item) -> None:
    """Settings are read; what is needed of them is another matter."""
    value = getattr(load_settings(environ={item.env[0]: "~/x"}), item.name)
    assert value == Path("~/x")
    with pytest.raises(SettingsError, match="no home folder"):
        expanded(value, what=item.env[0])


@pytest.mark.usefixtures("_no_home")
def test_caches_are_not_made_in_a_folder_called_tilde() -> None:
    """CACHE_DIR and HF_HOME are named instead."""
    with pytest.raises(SettingsError) as caught:
        wiring.cache_dir(load_settings(environ={}))
    assert "CACHE_DIR" in caught.value.hint
    assert wiring.cache_dir(load_settings(environ={"CACHE_DIR": "/x"})) == Path("/x")


@pytest.mark.parametrize("home", ["", "."])
def test_with_an_empty_home_ssh_reads_no_file_in_its_place(monkeypatch, tmp_path, home) -> None:
    """Neither keys nor a config file, which can have commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", home)
    for folder in (tmp_path / ".ssh", tmp_path / "~" / ".ssh"):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("config", "id_ed25519"):
            (folder / name).write_text("Host x\n HostName y\n", encoding="utf-8")
            (folder / name).chmod(0o600)
    assert [name for name, _ in PrivateKeys(None, None, None).candidates() if "agent" not in name] == []
    assert read_ssh_config(None).path is None
    config = tmp_path / "config"
    for line in ("IdentityFile ~/x", "UserKnownHostsFile ~/x", "IdentityFile %d/x", "ProxyCommand nc %d"):
        config.write_text(f"Include {tmp_path}/nothing\nHost pictures\n {line}\n", encoding="utf-8")
        with pytest.raises(SettingsError, match="cannot be resolved: HOME is"):
            read_ssh_config(config).lookup("pictures")
    config.write_text("Include more\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"config, line 1: '~/.ssh/more' cannot be resolved: HOME is"):
        read_ssh_config(config)


@pytest.mark.usefixtures("_no_home")
def test_without_a_home_ssh_has_no_default_keys() -> None:
    """And says nothing of it: no setting asked for them."""
    assert [name for name, _ in PrivateKeys(None, None, None).candidates() if "agent" not in name] == []


@pytest.mark.parametrize("path", ["/x", "x/~", "a~", "~/x"])
def test_with_a_home_all_is_as_before(monkeypatch, path) -> None:
    """Only a leading ~ means something."""
    monkeypatch.setenv("HOME", "/home/me")
    assert str(expanded(Path(path), what="X")) == str(Path(path.replace("~/", "/home/me/") if path[0] == "~" else path))
    assert expanded_if_known(Path(path)) == expanded(Path(path), what="X")
