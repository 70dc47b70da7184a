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
