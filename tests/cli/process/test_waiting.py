"""A service with a fault that only a person can fix waits where it would only be started again."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.servers.sshd import client_key, open_backend

from lemmy_safety import errors
from lemmy_safety.cli.input.invocation import Invocation

ROOT = Path(__file__).resolve().parents[3]

posix_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to a single process")


def _environment(store, tmp_path, **more):
    files = {"PICTRS_FILES_DIRECTORY": str(store.folder), "DETECTORS": "hashes"}
    return files | {"LEMMY_SAFETY_FAULT_FILE": str(tmp_path / "fault")} | more


def _wait_for(path, process):
    until = time.monotonic() + 30
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "it neither waits nor ends"
        time.sleep(0.05)


#: What a person gets wrong, the arguments with which it shows, and the exit code that says so.
FAULTS = {
    "a value out of range": ((), {"LEMMY_SAFETY_MINUTES": "0"}, errors.SettingsError),
    "a misspelt name": ((), {"LEMMY_SAFETY_MINUTE": "5"}, errors.SettingsError),
    "a folder that is not there": ((), {"PICTRS_FILES_DIRECTORY": "/nowhere"}, errors.StorageMissing),
    "an S3 server that is no URL": (
        ("-y",),
        {"LEMMY_SAFETY_STORAGE": "s3", "OBJECT_STORAGE_ENDPOINT": "s3://bucket"},
        errors.SettingsError,
    ),
    "a region that can be none": (
        (),
        {"LEMMY_SAFETY_STORAGE": "s3", "OBJECT_STORAGE_ENDPOINT": "http://127.0.0.1:9", "AWS_DEFAULT_REGION": "a b"},
        errors.SettingsError,
    ),
    "a database URL that is none": ((), {"DATABASE_URL": "u:pw@h/db"}, errors.SettingsError),
    "a database that is none": ((), {"SQLITE_FILENAME": "picture.db"}, errors.LedgerDamaged),
    "a hook without a secret": (("serve",), {"HOOK_HOST": "0.0.0.0"}, errors.SettingsError),  # noqa: S104
    "a worker without a key": (("worker", "--url", "http://127.0.0.1:9"), {}, errors.SettingsError),
}


@posix_signals
@pytest.mark.parametrize("fault", FAULTS)
def test_a_service_waits_with_its_fault_and_ends_with_its_code_when_stopped(command, store, tmp_path, fault):
    """It writes what is wrong to the file, goes on living, and stops at once with the code of the fault."""
    args, settings, error = FAULTS[fault]
    (tmp_path / "picture.db").write_bytes(b"\x89PNG" * 100)
    process = command(*args, env=_environment(store, tmp_path, **settings))
    file = tmp_path / "fault"
    _wait_for(file, process)
    assert f"exit code {error.exit_code}\n" in file.read_text()
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=5)
    assert process.returncode == error.exit_code
    assert "error:" in told
    assert "Waiting to be stopped" in told
    assert not file.exists()


@posix_signals
@pytest.mark.parametrize(
    ("key", "error"), [("wrong", errors.LoginRefused), ("missing", errors.PrivateKeyError)], ids=["wrong", "missing"]
)
def test_a_service_with_a_wrong_key_leaves_the_ssh_server_alone(command, store, tmp_path, key, error):
    """A real OpenSSH server sees the login of the start, and no other one while the service waits."""
    with open_backend("ssh") as place:
        login = {
            "SSH_HOSTNAME": place.server.host,
            "SSH_PORT": str(place.server.port),
            "SSH_USERNAME": place.username,
            "SSH_KNOWN_HOSTS": str(place.server.known_hosts),
            "SSH_PRIVKEY": str(client_key("ecdsa") if key == "wrong" else tmp_path / "missing"),
            "PICTRS_FILES_DIRECTORY": place.seen_root,
        }
        process = command(env=_environment(store, tmp_path, **login))
        _wait_for(tmp_path / "fault", process)
        connections = place.server.log().count("Connection from")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        assert place.server.log().count("Connection from") == connections
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=5)
    assert process.returncode == error.exit_code


@pytest.mark.parametrize(
    "case",
    [
        (("--all",), {"PICTRS_FILES_DIRECTORY": "/nowhere"}, errors.StorageMissing.exit_code),
        ((), {"PICTRS_FILES_DIRECTORY": "/nowhere", "LEMMY_SAFETY_ALL": "true"}, errors.StorageMissing.exit_code),
        (("--all",), {"LEMMY_SAFETY_MINUTES": "0"}, errors.SettingsError.exit_code),
        (("flagged",), {"LEMMY_SAFETY_MINUTES": "0"}, errors.SettingsError.exit_code),
        (("doctor",), {"PICTRS_FILES_DIRECTORY": "/nowhere"}, errors.StorageMissing.exit_code),
        (("flaged",), {}, 2),
    ],
)
def test_commands_that_are_no_services_never_wait(command, store, tmp_path, case):
    """``docker compose run --rm lemmy-safety doctor`` and the like end, with the same settings."""
    args, settings, code = case
    process = command(*args, env=_environment(store, tmp_path, **settings))
    _, told = process.communicate(timeout=60)
    assert process.returncode == code, told
    assert not (tmp_path / "fault").exists()


def test_without_the_setting_a_service_ends(command, store, tmp_path):
    """Under systemd and at a prompt it ends with its code, as ever."""
    process = command(env=_environment(store, tmp_path, LEMMY_SAFETY_FAULT_FILE="", LEMMY_SAFETY_MINUTES="0"))
    process.communicate(timeout=60)
    assert process.returncode == errors.SettingsError.exit_code


@posix_signals
def test_a_fault_file_that_was_left_is_gone_once_the_service_works(command, store, tmp_path):
    """The health check must not go on failing after the fault was fixed."""
    (tmp_path / "fault").write_text("error: left by a kill\nexit code 3\n")
    process = command(env=_environment(store, tmp_path))
    for line in process.stderr:
        if "pass done" in line:
            break
    assert not (tmp_path / "fault").exists()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0


@posix_signals
@pytest.mark.parametrize("minutes", ["0", "20"])
def test_a_fault_file_that_is_something_else_is_left_alone(command, store, tmp_path, minutes):
    """The setting may name a file or a device by mistake; neither a fault nor a working service costs it."""
    (tmp_path / "fault").write_text("my notes\n")
    process = command(env=_environment(store, tmp_path, LEMMY_SAFETY_MINUTES=minutes))
    for line in process.stderr:
        if "Waiting to be stopped" in line or "pass done" in line:
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert (tmp_path / "fault").read_text() == "my notes\n"


@posix_signals
def test_it_waits_as_well_where_the_file_cannot_be_written(command, store, tmp_path):
    """What matters is that it does not start over and over; that nothing shows it is said."""
    process = command(
        env=_environment(store, tmp_path, LEMMY_SAFETY_FAULT_FILE="/nowhere/fault", LEMMY_SAFETY_MINUTES="0")
    )
    for line in process.stderr:
        if "Waiting to be stopped" in line:
            break
        assert "Traceback" not in line
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == errors.SettingsError.exit_code


def test_systemd_leaves_a_service_alone_after_the_same_faults():
    """``RestartPreventExitStatus`` in the docs: a wrong command line, and each lasting fault of the error tree."""

    def lasting(parent):
        for error in parent.__subclasses__():
            yield from [error.exit_code] if error.lasting else []
            yield from lasting(error)

    unit = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    codes = re.search(r"^RestartPreventExitStatus=(.*)$", unit, re.MULTILINE)
    assert sorted({2, *lasting(errors.LemmySafetyError)}) == sorted(int(code) for code in codes[1].split())


def test_the_fault_file_is_known_where_the_settings_cannot_be_read(monkeypatch, tmp_path):
    """That can be the very fault."""
    monkeypatch.setenv("LEMMY_SAFETY_FAULT_FILE", str(tmp_path / "fault"))
    monkeypatch.setenv("LEMMY_SAFETY_MINUTES", "none")
    invocation = Invocation()
    with pytest.raises(errors.SettingsError):
        invocation.settings()
    assert invocation.fault_file() == tmp_path / "fault"
