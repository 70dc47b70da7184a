"""Planted faults, and what ``doctor`` says of each: found, with the right fix and exit code. Each is planted for real."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.ledger.results import failed, flagged, record
from support.needs import needs

from lemmy_safety import errors
from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.records import ActionState

S3 = {"AWS_ACCESS_KEY_ID": "key-of-test", "AWS_SECRET_ACCESS_KEY": "secret-of-test", "AWS_DEFAULT_REGION": "us-east-1"}
SSH = {"SSH_USERNAME": "me"}
OVER_SSH = SSH | {"SSH_HOSTNAME": "127.0.0.1", "LEMMY_SAFETY_STORAGE": "ssh"}


def env_file(text):
    def plant(folder):
        (folder / ".env").write_text(text, encoding="utf-8")
        return {}

    return plant


def settings(**values):
    return lambda _folder: values


def files(target, below=""):
    """The storage's folder, as ``target`` makes it; ``below`` leads from there to the one that is named."""

    def plant(folder):
        place = folder / "planted"
        target(place)
        return {"PICTRS_FILES_DIRECTORY": str(place / below)}

    return plant


def one_new_picture(place):
    picture = place / "01/a1/96/fb/16/00/7a/bc/9d/ef/0123456789ab"
    picture.parent.mkdir(parents=True)
    picture.touch()


def database(target):
    """The database file, as ``target`` makes it."""

    def plant(folder):
        place = folder / "planted.db"
        target(place)
        return {"SQLITE_FILENAME": str(place)}

    return plant


def tables(statements):
    def target(place):
        with closing(sqlite3.connect(place)) as connection:
            connection.executescript(statements)

    return database(target)


def ours(change):
    """A database of ours that holds the fault."""

    def target(place):
        with open_ledger(sqlite_url(place)) as ledger:
            change(ledger)

    return database(target)


def failed_deletion(ledger):
    (action,) = record(ledger, [flagged("a")])
    ledger.actions.finish(action.id, ActionState.FAILED, "no right")


def refused_twice(ledger):
    for _ in range(2):
        (action,) = record(ledger, [flagged("a")])
        ledger.actions.finish(action.id, ActionState.REFUSED, "changed")


def fails_thrice(ledger):
    for _ in range(3):
        record(ledger, [failed("a")])


def altered(statement):
    """A database of ours, changed by another program."""

    def target(place):
        open_ledger(sqlite_url(place)).close()
        with closing(sqlite3.connect(place)) as connection:
            connection.executescript(statement)

    return database(target)


def hash_list(text):
    def plant(folder):
        if text is not None:
            (folder / "list.txt").write_text(text, encoding="utf-8")
        return {"HASH_LIST": str(folder / "list.txt")}

    return plant


def aws_file(text, **more):
    def plant(folder):
        (folder / "aws-config").write_text(text, encoding="utf-8")
        return {"AWS_CONFIG_FILE": str(folder / "aws-config"), **more}

    return plant


def nobody_listens(setting, url, **more):
    def plant(_folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return {setting: url.format(free.getsockname()[1]), **more}

    return plant


FAULTS = {
    "a name that is nearly ours": (settings(LEMMY_SAFETY_NOPE="1"), errors.SettingsError, ["LEMMY_SAFETY_NOPE"]),
    "a number out of range": (settings(LEMMY_SAFETY_MINUTES="0"), errors.SettingsError, ["LEMMY_SAFETY_MINUTES", "1"]),
    "a word for a number": (settings(LEMMY_SAFETY_MINUTES="ten"), errors.SettingsError, ["LEMMY_SAFETY_MINUTES"]),
    "no yes or no": (settings(LEMMY_SAFETY_DRY_RUN="maybe"), errors.SettingsError, ["LEMMY_SAFETY_DRY_RUN"]),
    "an unknown action": (settings(LEMMY_SAFETY_ACTION="burn"), errors.SettingsError, ["LEMMY_SAFETY_ACTION"]),
    "an unknown detector": (settings(DETECTORS="hashes,eyes"), errors.SettingsError, ["DETECTORS", "eyes"]),
    "a port out of range": (settings(HOOK_PORT="0"), errors.SettingsError, ["HOOK_PORT", "65535"]),
    "a short secret of the hook": (settings(HOOK_SECRET="x"), errors.SettingsError, ["16", "HOOK_SECRET"]),
    "a secret of the hook that fits no URL": (settings(HOOK_SECRET="sixteen letters / or more"), errors.SettingsError, ["URL"]),
    "a hook open to strangers": (settings(HOOK_HOST="::"), errors.SettingsError, ["::", "HOOK_SECRET"]),
    "a network of the hook that is none": (settings(HOOK_NETWORKS="10.0.0.0/99"), errors.SettingsError, ["HOOK_NETWORKS", "10.0.0.0/99", "10.0.0.0/8"]),
    "two networks of the hook that are none": (settings(HOOK_NETWORKS="here, 10.0.0.5/8"), errors.SettingsError, ["'here'", "'10.0.0.5/8'", "is 10.0.0.0/8"]),
    "a proxy of the hook that is none": (settings(HOOK_TRUSTED_PROXIES="foo/8"), errors.SettingsError, ["HOOK_TRUSTED_PROXIES", "foo/8"]),
    "a hook on an address that is none": (settings(HOOK_HOST="999.1.1.1"), errors.SettingsError, ["HOOK_HOST", "999.1.1.1", "this machine"]),
    "a hook on an address of another machine": (settings(HOOK_HOST="127.0.0.1,192.0.2.1"), errors.SettingsError, ["HOOK_HOST", "192.0.2.1"]),
    "a worker's server that is none": (
        settings(PICTRS_SAFETY_URL="relay", PICTRS_SAFETY_APIKEY="secret-key"), errors.SettingsError, ["PICTRS_SAFETY_URL", "https://"],
    ),
    "a worker without a key": (
        settings(PICTRS_SAFETY_URL="http://127.0.0.1:1"), errors.SettingsError, ["http://127.0.0.1:1", "PICTRS_SAFETY_APIKEY"],
    ),
    "a short key of the relay": (settings(RELAY_APIKEY="x"), errors.SettingsError, ["16", "RELAY_APIKEY"]),
    "a colon in .env": (env_file("LEMMY_SAFETY_DRY_RUN: true\n"), errors.SettingsError, [".env", "line 1"]),
    "a list in .env": (env_file("- LEMMY_SAFETY_DRY_RUN=true\n"), errors.SettingsError, [".env", "line 1"]),
    "a quote forgotten in .env": (env_file('\nLEMMY_SAFETY_ACTION="report\n'), errors.SettingsError, [".env", "line 2"]),
    "no storage": (settings(PICTRS_FILES_DIRECTORY=""), errors.SettingsError, ["PICTRS_FILES_DIRECTORY"]),
    "the root of the file system": (settings(PICTRS_FILES_DIRECTORY=Path.cwd().anchor), errors.WrongFolder, ["whole file system", "store.path"]),
    "a prefix that no key has": (settings(LEMMY_SAFETY_PREFIX="/ab"), errors.SettingsError, ["LEMMY_SAFETY_PREFIX", "'/ab'", "slash"]),
    "a prefix that leads out of the store": (settings(LEMMY_SAFETY_PREFIX="../x"), errors.SettingsError, ["LEMMY_SAFETY_PREFIX", "'..'"]),
    "a folder that is missing": (files(lambda _place: None), errors.StorageMissing, ["planted"]),
    "a file in place of the folder": (files(lambda place: place.touch()), errors.StorageMissing, ["planted"]),
    "a folder that links to itself": (files(lambda place: place.symlink_to(place)), errors.StorageMissing, ["planted"]),
    "the folder above pict-rs's files": (
        files(lambda place: [(place / name).mkdir(parents=True) for name in ("files", "sled-repo")]),
        errors.WrongFolder,
        ["sled-repo", "planted/files", "PICTRS_FILES_DIRECTORY"],
    ),
    "a folder inside pict-rs's files": (
        files(one_new_picture, below="01/a1"),
        errors.WrongFolder,
        ["inside", "planted", "PICTRS_FILES_DIRECTORY"],
    ),
    "an S3 server that is down": (
        nobody_listens("OBJECT_STORAGE_ENDPOINT", "http://127.0.0.1:{}", LEMMY_SAFETY_STORAGE="s3", **S3),
        errors.StorageUnreachable,
        ["127.0.0.1", "server is up"],
    ),
    "an S3 host that does not exist": (
        settings(OBJECT_STORAGE_ENDPOINT="http://nowhere.invalid", LEMMY_SAFETY_STORAGE="s3", **S3),
        errors.HostUnknown,
        ["nowhere.invalid", "OBJECT_STORAGE_ENDPOINT"],
    ),
    "an S3 server that is no URL": (
        settings(OBJECT_STORAGE_ENDPOINT="s3://bucket", LEMMY_SAFETY_STORAGE="s3", **S3),
        errors.SettingsError,
        ["s3://bucket", "OBJECT_STORAGE_ENDPOINT"],
    ),
    "an S3 host with an underscore": (
        settings(OBJECT_STORAGE_ENDPOINT="http://my_minio:9000", LEMMY_SAFETY_STORAGE="s3", **S3),
        errors.SettingsError,
        ["my_minio", "underscore", "aliases"],
    ),
    "an AWS file that is none": (
        aws_file("no section\n", OBJECT_STORAGE_ENDPOINT="http://127.0.0.1:9", LEMMY_SAFETY_STORAGE="s3", **S3),
        errors.SettingsError,
        ["aws-config", "Check the AWS files"],
    ),
    "a proxy with one slash": (
        settings(OBJECT_STORAGE_ENDPOINT="http://a.invalid", LEMMY_SAFETY_STORAGE="s3", HTTP_PROXY="http:/127.0.0.1:1", **S3),
        errors.SettingsError,
        ["HTTP_PROXY", "http://host:port"],
    ),
    "a worker's proxy in quotes": (
        settings(PICTRS_SAFETY_URL="http://a.invalid", PICTRS_SAFETY_APIKEY="key-of-the-workers", http_proxy='"http://a:1"'),
        errors.SettingsError,
        ["http_proxy", "quotation marks", "http://host:port"],
    ),
    "an SSH host that does not exist": (
        settings(SSH_HOSTNAME="nowhere.invalid", LEMMY_SAFETY_STORAGE="ssh", **SSH),
        errors.HostUnknown,
        ["nowhere.invalid", "spelling"],
    ),
    "an SSH server that is down": (
        nobody_listens("SSH_PORT", "{}", SSH_HOSTNAME="127.0.0.1", LEMMY_SAFETY_STORAGE="ssh", **SSH),
        errors.StorageUnreachable,
        ["127.0.0.1", "server is up"],
    ),
    "an SSH key that is none, and a server that is down": (
        nobody_listens("SSH_PORT", "{}", SSH_HOSTNAME="127.0.0.1", LEMMY_SAFETY_STORAGE="ssh", SSH_PRIVKEY=os.devnull, **SSH),
        errors.PrivateKeyError,
        [os.devnull, "it is empty"],
    ),
    "an SSH host with its user": (
        settings(SSH_HOSTNAME="me@server", LEMMY_SAFETY_STORAGE="ssh", **SSH),
        errors.SettingsError,
        ["me@server", "SSH_USERNAME", "SSH_PORT"],
    ),
    "a database that is none": (database(lambda place: place.write_bytes(b"text " * 900)), errors.LedgerDamaged, ["SQLITE_FILENAME"]),
    "a folder in place of the database": (database(lambda place: place.mkdir()), errors.LedgerDamaged, ["folder", "SQLITE_FILENAME"]),
    "another program's database": (tables("CREATE TABLE posts (id INTEGER)"), errors.LedgerDamaged, ["another program", "posts"]),
    "another program's migrations": (
        tables("CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('abc')"),
        errors.LedgerDamaged,
        ["another program", "SQLITE_FILENAME"],
    ),
    "a database of a newer version": (altered("UPDATE alembic_version SET version_num = '9999'"), errors.LedgerTooNew, ["9999", "newer"]),
    "a lost table": (altered("DROP TABLE flags"), errors.LedgerDamaged, ["no table flags", "docs/upgrading.md"]),
    "a lost column": (altered("ALTER TABLE runs DROP COLUMN counts"), errors.LedgerDamaged, ["no column runs.counts", "docs/upgrading.md"]),
    "a lost version of the schema": (altered("DROP TABLE alembic_version"), errors.LedgerDamaged, ["alembic_version", "docs/upgrading.md"]),
    "no folder for the database": (settings(SQLITE_FILENAME="no/a.db"), errors.LedgerError, ["SQLITE_FILENAME"]),
    "a DATABASE_URL that is none": (settings(DATABASE_URL="nonsense"), errors.SettingsError, ["DATABASE_URL", "sqlite:////"]),
    "an unknown kind of database": (settings(DATABASE_URL="nosuch://h/x"), errors.SettingsError, ["nosuch", "PostgreSQL"]),
    "a database server that is down": (
        nobody_listens("DATABASE_URL", "postgresql://me:secret-word@127.0.0.1:{}/x"),
        errors.LedgerError,
        ["server is up", "DATABASE_URL"],
    ),
    "a deletion that the storage refused": (ours(failed_deletion), errors.ActionRefused, ["1 refused by", "delete-flagged"]),
    "a deletion refused again and again": (ours(refused_twice), errors.ActionRefused, ["again and again", "review clear"]),
    "an object that fails in each pass": (ours(fails_thrice), errors.ObjectsUnchecked, ["'a' in 3", "lemmy-safety unreadable"]),
    "garbled requests at the hook": (
        ours(lambda ledger: ledger.garbled.count("form", added=20, in_a_row=20)),
        errors.SettingsError,
        ["20 in a row", "Garbled requests"],
    ),
    "no hash list": (hash_list(None), errors.DetectorError, ["list.txt"]),
    "a hash list that is none": (hash_list("no hash\n"), errors.DetectorError, ["list.txt", "Line 1"]),
}  # fmt: skip


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("fault", FAULTS)
def test_each_planted_fault_is_found_with_its_fix(call, tmp_path, monkeypatch, fault) -> None:
    """One fault at a time on a good installation: one finding, its words, a fix, its exit code, and no secret."""
    if "links to itself" in fault and os.name == "nt":
        pytest.skip("Windows lets few users make links")
    if "database server" in fault:
        pytest.importorskip("psycopg")
    monkeypatch.chdir(tmp_path)
    plant, error, words = FAULTS[fault]
    result = call("doctor", "--quick", "--json", env=plant(tmp_path))
    faults = [check for check in json.loads(result.stdout)["checks"] if check["ok"] is False]
    assert len(faults) == 1, result.stdout
    assert faults[0]["fix"]
    said = f"{faults[0]['detail']} {faults[0]['fix']}"
    assert [word for word in words if word not in said] == [], said
    assert result.exit_code == faults[0]["exit_code"] == error.exit_code
    assert "secret-" not in said


@needs("process")  # doctor starts programs
def test_storages_of_which_none_is_chosen_are_checked_for_what_is_wrong_in_their_settings(call) -> None:
    """None is connected to, but no fault waits until the choice is made."""
    filled = {"OBJECT_STORAGE_ENDPOINT": "http://a:99999", "SSH_HOSTNAME": "b", "PICTRS_FILES_DIRECTORY": "/c"}
    result = call("doctor", "--quick", "--json", env=filled | {"SSH_USERNAME": "", "DETECTORS": "hashes"})
    checks = [check for check in json.loads(result.stdout)["checks"] if check["area"] == "Storage"]
    said = [check["detail"] for check in checks if check["ok"] is False]
    assert "none is chosen" in said[0]
    assert "'http://a:99999' is not the URL of a server" in said[1]
    assert "No user name is known for the SSH server b" in said[2]
    assert len(said) == 3
    assert result.exit_code == errors.SettingsError.exit_code


@pytest.mark.usefixtures("store")
def test_without_a_fault_nothing_is_found(call, tmp_path, monkeypatch) -> None:
    """The installation in which the faults are planted is a good one."""
    monkeypatch.chdir(tmp_path)
    result = call("doctor", "--quick", "--json")
    assert [check for check in json.loads(result.stdout)["checks"] if check["ok"] is False] == []
    assert result.exit_code == 0


def doctored(call, **env):
    """What ``doctor`` says: the faults, and the areas in which something was found to be good."""
    checks = json.loads(call("doctor", "--quick", "--json", env=env).stdout)["checks"]
    return [check for check in checks if check["ok"] is False], {check["area"] for check in checks if check["ok"]}


@pytest.mark.usefixtures("store")
def test_a_fault_of_the_settings_postpones_no_other_check(call, tmp_path, monkeypatch) -> None:
    """Every fault at once: the missing list is found beside the wrong number, the folder and the database are tried."""
    monkeypatch.chdir(tmp_path)
    list_of_hashes = str(tmp_path / "list.txt")
    found, good = doctored(call, LEMMY_SAFETY_MINUTES="0", HOOK_SECRET="x", HASH_LIST=list_of_hashes)
    assert [fault["area"] for fault in found] == ["Settings", "Upload hook", "Detectors"]
    assert {"Storage", "Database"} <= good


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("wrong", "area"),
    [
        (OVER_SSH | {"SSH_PORT": "0"}, "Storage"),
        ({"DETECTORS": "eyes"}, "Detectors"),
        ({"HOOK_PORT": "0"}, "Upload hook"),
    ],
)
def test_what_a_faulty_setting_is_about_is_not_checked_with_its_default(
    call, tmp_path, monkeypatch, wrong, area
) -> None:
    """It would be the wrong storage or detector; everything else is checked."""
    monkeypatch.chdir(tmp_path)
    found, good = doctored(call, **wrong)
    assert [fault["area"] for fault in found] == ["Settings"]
    assert good >= {"Storage", "Database", "Detectors"} - {area}
    assert area not in good


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("wrong", "hidden", "area"),
    [
        ({"SSH_PORT": "0"}, {"PICTRS_FILES_DIRECTORY": "missing"}, "Storage"),
        ({"CACHE_DIR": "~nobody-here/x"}, {"SQLITE_FILENAME": "missing/x.db"}, "Database"),
        ({"NUDENET_MIN_SCORE": "7", "CLIP_BATCH": "x"}, {"HASH_LIST": "missing"}, "Detectors"),
        ({"HOOK_QUEUE": "0"}, {"HOOK_HOST": "0.0.0.0"}, "Upload hook"),  # noqa: S104
        ({"HOOK_SECRET": "'"}, {"HOOK_NETWORKS": "here"}, "Upload hook"),
    ],
)
def test_a_faulty_setting_hides_no_fault_of_its_neighbours(call, tmp_path, monkeypatch, *, wrong, hidden, area) -> None:
    """Only what needs it waits, not all that is set in the same section."""
    monkeypatch.chdir(tmp_path)
    found, _ = doctored(call, **wrong, **hidden)
    assert [fault["area"] for fault in found] == ["Settings"] * len(wrong) + [area]
    (name,) = hidden
    assert name in f"{found[-1]['detail']} {found[-1]['fix']}"


#: Every setting of the hook and of the relay that can be wrong by itself, as an admin may write it.
WRONG_HOOK = {
    "HOOK_HOST": "999.1.1.1",
    "HOOK_NETWORKS": "10.0.0.0/99",
    "HOOK_TRUSTED_PROXIES": "foo/8",
    "HOOK_SECRET": "short",
    "RELAY_APIKEY": "~brief",
}


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("prefix", ["", "LEMMY_SAFETY_"])
@pytest.mark.parametrize("in_file", [False, True])
def test_each_wrong_setting_of_the_hook_is_a_fault_by_the_name_it_is_written_with(
    call, tmp_path, monkeypatch, prefix, in_file
) -> None:
    """All at once, with a fix each; ``serve`` refuses to start with the same words. No secret is shown."""
    monkeypatch.chdir(tmp_path)
    wrong = {f"{prefix}{name}": value for name, value in WRONG_HOOK.items()}
    if in_file:
        (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in wrong.items()), encoding="utf-8")
        (tmp_path / ".env").chmod(0o600)
    env = {} if in_file else wrong
    found, _ = doctored(call, **env)
    assert [fault["area"] for fault in found] == ["Upload hook"] * len(wrong)
    refused = call("serve", "--relay", env=env)
    assert refused.exit_code == errors.SettingsError.exit_code
    for line, name in enumerate(wrong, start=1):
        written = f".env, line {line}: {name}" if in_file else name
        (fault,) = [fault for fault in found if fault["detail"].startswith(written)]
        assert fault["fix"]
        assert f" {fault['detail']} {fault['fix']}\n" in refused.output
    assert "~brief" not in f"{found}{refused.output}"


@pytest.mark.usefixtures("store")
def test_everything_that_a_worker_lacks_is_said_at_once(call) -> None:
    """The address is that of the flag where there is one."""
    refused = call("worker", "--url", "relay")
    assert refused.exit_code == errors.SettingsError.exit_code
    assert "--url is not the address of a server." in refused.output
    assert "PICTRS_SAFETY_APIKEY" in refused.output
    assert "--url" in call("worker").output


@pytest.mark.usefixtures("store")
def test_a_settings_file_that_cannot_be_read_postpones_no_check(call, tmp_path, monkeypatch) -> None:
    """The storage is in the environment here; where it is in that file, its absence is no second fault."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").mkdir()
    found, good = doctored(call)
    assert [fault["area"] for fault in found] == ["Settings"]
    assert {"Storage", "Database", "Detectors"} <= good
    found, good = doctored(call, PICTRS_FILES_DIRECTORY="")
    assert [fault["area"] for fault in found] == ["Settings"]
    assert "Storage" not in good


@pytest.mark.usefixtures("store")
def test_a_fault_of_a_proxy_is_not_taken_for_a_storage_that_is_missing(call, tmp_path, monkeypatch) -> None:
    """No file of settings holds it, so that it is a fault beside one of theirs as well."""
    monkeypatch.chdir(tmp_path)
    plant, _, _ = FAULTS["a proxy with one slash"]
    found, _ = doctored(call, LEMMY_SAFETY_MINUTES="0", **plant(tmp_path))
    assert [fault["area"] for fault in found] == ["Settings", "Storage"]


@pytest.mark.usefixtures("store")
def test_the_fix_names_the_file_that_was_read(call, tmp_path, monkeypatch) -> None:
    """``other.env``, where that is the file of the settings; what is in it is corrected there only."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.env").write_text("LEMMY_SAFETY_MINUTES=ten\n", encoding="utf-8")
    result = call("doctor", "--quick", "--json", "--env-file", "other.env", env={"LEMMY_SAFETY_THREADS": "many"})
    fixes = {
        check["detail"].split(":")[0]: check["fix"]
        for check in json.loads(result.stdout)["checks"]
        if check["ok"] is False
    }
    assert fixes == {
        "LEMMY_SAFETY_THREADS": "Correct it in other.env or the environment.",
        "other.env, line 1": "Correct it in other.env.",
    }


@pytest.mark.parametrize(
    ("variables", "said"),
    [({}, "in the environment or in other.env:"), ({"LEMMY_SAFETY_STORAGE": "s3"}, "fix: Set it in other.env.")],
)
@needs("process")  # doctor starts programs
def test_what_is_missing_is_to_be_set_in_the_file_that_was_read(call, tmp_path, monkeypatch, variables, said) -> None:
    """A sweep and ``doctor`` say the same, also of a storage that cannot be chosen."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.env").touch(mode=0o600)
    for command in ("--all", "doctor --quick"):
        result = call(*command.split(), "--env-file", "other.env", env=variables)
        assert said in result.output
        assert result.exit_code == errors.SettingsError.exit_code
