"""Files that other accounts can read: ``doctor`` names each with the command that closes it."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from support.needs import needs

from lemmy_safety.cli.checks.exposed_files import changeable, exposed
from lemmy_safety.ledger import open_ledger, sqlite_url

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows keeps rights elsewhere")

DOCS = Path(__file__).parents[3] / "docs"


def _warned(result) -> dict[str, str]:
    checks = [check for check in json.loads(result.stdout)["checks"] if check["name"] == "permissions"]
    assert all(check["ok"] is None and check["exit_code"] == 0 for check in checks)
    return {check["detail"].partition(" can be ")[0]: check["fix"] for check in checks}


def test_doctor_warns_of_each_file_and_its_fixes_hold(call, store, tmp_path, monkeypatch) -> None:
    """Database, settings file and SSH key; after the commands that it gives there is nothing left to say."""
    database, env_file, key = tmp_path / "x.db", tmp_path / ".env", tmp_path / "my key"
    with open_ledger(sqlite_url(database)):
        pass
    env_file.write_text(f"SQLITE_FILENAME={database}\n", encoding="utf-8")
    key.write_text("no real key", encoding="utf-8")
    monkeypatch.setenv("LEMMY_SAFETY_STORAGE", "local")
    monkeypatch.setenv("SSH_HOSTNAME", "host.invalid")
    monkeypatch.setenv("SSH_PRIVKEY", str(key))
    for path in (database, env_file, key):
        path.chmod(0o644)
    fixes = _warned(call("doctor", "--json", "--quick"))
    assert set(fixes) == {str(database), ".env", str(key)}
    for fix in fixes.values():
        subprocess.run(["sh", "-c", fix], check=True)
    result = call("doctor", "--json", "--quick")
    assert _warned(result) == {}
    assert result.exit_code == 0
    assert {stat.S_IMODE(path.stat().st_mode) for path in (database, env_file, key)} == {0o600}


def test_doctor_warns_of_each_file_that_others_can_change(call, store, tmp_path, monkeypatch) -> None:
    """What steers the verdicts and the way to the storage may be read by everyone; the fixes hold."""
    weights, caches, ssh = tmp_path / "weights", tmp_path / "caches", tmp_path / "ssh"
    for folder in (weights, caches, ssh):
        folder.mkdir(mode=0o755)
    named = {"HASH_LIST": tmp_path / "list", "SSH_KNOWN_HOSTS": ssh / "hosts", "SSH_CONFIG": ssh / "config"}
    for path in (*named.values(), weights / "ViT-L-14.pt", caches / "features"):
        path.write_text(f"sha256 {'0' * 64}\n" if path.name == "list" else "", encoding="utf-8")
        path.chmod(0o644)
    for name, path in {**named, "CLIP_WEIGHTS": weights, "CACHE_DIR": caches}.items():
        monkeypatch.setenv(name, str(path))
    for name, value in {
        "LEMMY_SAFETY_STORAGE": "local",
        "SSH_HOSTNAME": "x.invalid",
        "DETECTORS": "hashes,clip",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert _warned(call("doctor", "--json", "--quick")) == {}
    for path in (*named.values(), weights / "ViT-L-14.pt"):
        path.chmod(0o666)
    caches.chmod(0o775)
    fixes = _warned(call("doctor", "--json", "--quick"))
    folders = {f"the files in {weights}", f"the files in {caches}"}
    assert set(fixes) == {*map(str, named.values()), *folders}
    for fix in fixes.values():
        subprocess.run(["sh", "-c", fix], check=True)
    assert _warned(call("doctor", "--json", "--quick")) == {}
    assert stat.S_IMODE((tmp_path / "list").stat().st_mode) == 0o644


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o773])
def test_a_folder_in_which_everyone_can_replace_files_is_named(call, store, tmp_path, monkeypatch, mode) -> None:
    """Once, for all files in it: also for a settings file that is not there yet, and on the way to a link."""
    place, elsewhere = tmp_path / "open", tmp_path / "elsewhere"
    for folder in (place, elsewhere):
        folder.mkdir()
    (elsewhere / "list").write_text(f"sha256 {'0' * 64}\n", encoding="utf-8")
    (elsewhere / "list").chmod(0o600)
    (place / "list").symlink_to(elsewhere / "list")
    monkeypatch.setenv("HASH_LIST", str(place / "list"))
    monkeypatch.chdir(place)
    place.chmod(mode)
    assert _warned(call("doctor", "--json", "--quick")) == {f"the files in {place}": f"chmod o-w {place}"}
    place.chmod(mode | stat.S_ISVTX)
    assert _warned(call("doctor", "--json", "--quick")) == {}


def test_what_is_no_file_of_ours_is_not_spoken_of(tmp_path) -> None:
    """``/dev/null`` as the file of known hosts, links that lead nowhere, what is missing."""
    (tmp_path / "loop").symlink_to("loop")
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)
    (folder / "nowhere").symlink_to("nothing")
    assert (
        list(changeable([Path("/dev/null"), folder, tmp_path / "loop", tmp_path / "none", tmp_path / ("x" * 300)]))
        == []
    )


@needs("process")  # doctor starts programs
def test_a_settings_file_that_is_named_is_looked_at_even_if_it_is_wrong(call, tmp_path) -> None:
    """Its faults do not hide that everyone can read the passwords in it."""
    named = tmp_path / "service.env"
    named.write_text("LEMMY_SAFETY_NOPE=1\n", encoding="utf-8")
    named.chmod(0o604)
    assert list(_warned(call("doctor", "--json", "--env-file", str(named)))) == [str(named)]


def test_a_database_by_url_is_looked_at_as_well(call, store, tmp_path, monkeypatch) -> None:
    """DATABASE_URL can name a file."""
    with open_ledger(sqlite_url(tmp_path / "y.db")):
        pass
    (tmp_path / "y.db").chmod(0o666)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/y.db")
    assert list(_warned(call("doctor", "--json", "--quick"))) == [str(tmp_path / "y.db")]


@pytest.mark.parametrize(
    ("mode", "who"),
    [(0o600, ""), (0o400, ""), (0o640, "its group"), (0o644, "every account"), (0o602, "written by every account")],
)
def test_who_can_read_is_said(tmp_path, mode, who) -> None:
    """From the mode alone, where the file is ours."""
    file = tmp_path / "x"
    file.touch()
    file.chmod(mode)
    assert [who in found.detail for found in exposed([file])] == ([True] if who else [])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
def test_a_group_through_which_we_read_is_as_it_should_be(tmp_path) -> None:
    """Root's file with mode 640 for the group of a service; everyone else is still too many."""
    file = tmp_path / "x"
    file.touch()
    os.chown(file, 12345, os.getegid())
    file.chmod(0o640)
    assert list(exposed([file])) == []
    file.chmod(0o644)
    assert [found.fix for found in exposed([file])] == [f"chmod o= {file}"]


def test_what_is_missing_is_not_spoken_of(tmp_path) -> None:
    """No file, a folder, a link to itself, a name that is too long: other checks say what is wrong there."""
    (tmp_path / "loop").symlink_to("loop")
    assert list(exposed([tmp_path / "none", tmp_path, tmp_path / "loop", tmp_path / ("x" * 300)])) == []


def test_the_docs_install_a_settings_file_that_only_its_owner_reads() -> None:
    """An admin who copies the commands gets mode 600, and a service whose files are its own."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]}
    assert "UMask=0077" in texts["operations.md"]
    for name, text in texts.items():
        made = [line for line in text.splitlines() if "env_example" in line and line.startswith(("cp ", "install "))]
        assert all(line.startswith("install -m 600 ") for line in made), name
        assert not re.search(r"env-example *>", text), name  # the shell would make a file that others can read
    assert sum("install -m 600" in text or "env-example -o" in text for text in texts.values()) >= 3


@pytest.mark.parametrize("place", ["/", "~", "sticky"])
def test_no_command_is_advised_that_changes_more_than_files_of_ours(tmp_path, monkeypatch, place) -> None:
    """A hash list that is set to / or to /tmp by mistake: ``chmod -R go-w /`` would break the machine."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "open to all").touch()
    (folder / "open to all").chmod(0o666)
    monkeypatch.setenv("HOME", str(folder if place == "~" else tmp_path / "elsewhere"))
    if place == "sticky":
        folder.chmod(0o1777)
    assert list(changeable([Path("/") if place == "/" else folder])) == []


def test_a_device_in_the_place_of_a_folder_is_not_spoken_of() -> None:
    """``HOME=/dev/null`` is how services are given no home."""
    assert list(changeable([Path("/dev/null/caches")], private=[Path("/dev/null/x.db")])) == []
