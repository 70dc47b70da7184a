"""Faults that an admin may meet, each planted for real: how, which error it is, and the words of its fix."""

from __future__ import annotations

import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

from support.ledger.results import failed, flagged, record

from lemmy_safety import errors
from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.records import ActionState

S3 = {"AWS_ACCESS_KEY_ID": "key-of-test", "AWS_SECRET_ACCESS_KEY": "secret-of-test", "AWS_DEFAULT_REGION": "us-east-1"}


SSH = {"SSH_USERNAME": "me"}


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
    "a program for caches that is not there": (
        settings(REMOVED_HOOK="/no/such/program {alias}"), errors.SettingsError, ["REMOVED_HOOK", "/no/such/program"],
    ),
    "names for caches without pict-rs": (
        settings(REMOVED_HOOK="https://lemmy.example/{alias}"), errors.SettingsError, ["REMOVED_HOOK", "PICTRS_URL"],
    ),
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
