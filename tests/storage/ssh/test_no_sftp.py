"""A server that lets the account log in and then opens no SFTP session says why, and is not taken for an outage."""

from __future__ import annotations

import time

import paramiko
import pytest
from support.admin import eventually
from support.servers.sshd import open_backend

from lemmy_safety.errors import StorageError, StorageUnreachable
from lemmy_safety.storage.ssh import no_sftp

pytestmark = pytest.mark.external_service


def refused_by(*options: str) -> StorageError:
    """What opening says to a server with these lines in its sshd_config."""
    with open_backend("ssh", options) as backend:
        storage = backend.storage()
        with pytest.raises(StorageError) as caught:
            storage.open()
        # One login is enough to know: nothing is tried again.
        assert backend.server.log().count("Accepted publickey") == 1
    return caught.value


@pytest.mark.parametrize(
    ("options", "said", "hint"),
    [
        (["Subsystem other /bin/false"], "does not offer SFTP", "Subsystem sftp internal-sftp"),
        (["Subsystem sftp /usr/lib/no-such/sftp-server"], "exit status 127", "Subsystem sftp is missing"),
        (["Subsystem sftp /etc"], "exit status 126", "Subsystem sftp is missing"),
        (["Subsystem sftp /bin/false"], "exit status 1", "Subsystem, ForceCommand"),
        (["Subsystem sftp /bin/true"], "exit status 0", "Subsystem, ForceCommand"),
        (["ForceCommand echo This account is currently not available.; exit 1"], "currently not available", ".bashrc"),
        (["ForceCommand echo Welcome to the server; exec /usr/lib/openssh/sftp-server"], "Welcome to the", ".bashrc"),
        (["ForceCommand printf '\\n'; exec /usr/lib/openssh/sftp-server"], "does not offer SFTP", ".bashrc"),
        (["ForceCommand cat"], "does not offer SFTP", "internal-sftp"),
        (["ForceCommand echo out of order >&2; exit 3"], "out of order", "server's log"),
        (["ChrootDirectory /no/such/jail"], "does not offer SFTP", "ChrootDirectory"),
        (["MaxSessions 0"], "allows no session", "MaxSessions"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_server_that_opens_no_sftp_session_says_why(options: list[str], said: str, hint: str) -> None:
    """One clear error with exit code 10, at once, with the server's own words and what to change there."""
    started = time.monotonic()
    error = refused_by(*options)
    assert type(error) is StorageError
    assert error.exit_code == 10
    assert said in error.message
    assert hint in error.hint
    assert time.monotonic() - started < 30


def test_a_session_that_ends_before_the_first_packet_is_sent_gets_the_same_error(monkeypatch) -> None:
    """A program that cannot run ends at once; whether we are faster is chance."""
    invoke = paramiko.Channel.invoke_subsystem

    def invoke_and_wait(channel: paramiko.Channel, name: str) -> None:
        invoke(channel, name)
        eventually(lambda: channel.closed, "the session has ended")

    monkeypatch.setattr(paramiko.Channel, "invoke_subsystem", invoke_and_wait)
    error = refused_by("Subsystem sftp /etc")
    assert type(error) is StorageError
    assert "exit status 126" in error.message


def test_a_password_that_has_run_out_is_named() -> None:
    """sshd starts passwd in the place of everything else, which wants a terminal."""
    text = "Password change required but no TTY available."
    error = refused_by(f"ForceCommand echo WARNING: Your password has expired. >&2; echo {text} >&2; exit 1")
    assert type(error) is StorageError
    assert "has run out" in error.message
    assert "passwd" in error.hint


def test_a_server_in_maintenance_is_waited_for() -> None:
    """What sshd ends with where /etc/nologin exists: the machine is about to go down, or comes back later."""
    with (
        open_backend("ssh", ["ForceCommand echo System is going down. >&2; exit 254"]) as backend,
        pytest.raises(StorageUnreachable, match="System is going down") as caught,
    ):
        backend.storage().open()
    assert "nologin" in caught.value.hint


def test_a_program_that_is_killed_is_an_outage() -> None:
    """It says nothing of the server's settings: the next try may find it alive."""
    with open_backend("ssh", ["Subsystem sftp kill -9 $$"]) as backend, pytest.raises(StorageUnreachable):
        backend.storage().open()


def test_an_endless_text_is_cut_short() -> None:
    """A server that floods the session costs little time and no memory."""
    error = refused_by("ForceCommand yes spam")
    assert "spam spam" in error.message
    assert len(error.message) < 500


def test_a_server_that_allows_one_session_works() -> None:
    """The commands then go over a connection of their own."""
    with open_backend("ssh", ["MaxSessions 1"]) as backend, backend.storage() as storage:
        backend.put("a.jpg", b"x")
        assert [obj.key for obj in storage.list()] == ["a.jpg"]
        assert storage.read("a.jpg", max_bytes=1) == b"x"


def test_a_server_whose_sftp_is_repaired_is_used_without_a_restart() -> None:
    """The error holds until the next try, not for good."""
    with open_backend("ssh", ["Subsystem sftp /no/such/server"]) as backend:
        storage = backend.storage()
        with pytest.raises(StorageError):
            storage.open()
        backend.server.stop()
        backend.server.prepend(["Subsystem sftp internal-sftp"])
        backend.server.drop("Subsystem sftp /no/such/server")
        backend.server.start()
        with storage:
            assert list(storage.list()) == []


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", ""),
        (b"\x00\x00\x00\x05\x02\x00\x00\x00\x03", ""),
        (b"Hello\r\n  world\n\x00\x00\x00\x05\x02", "Hello world"),
        ("Grüß Gott\n".encode(), "Grüß Gott"),
        (b"\x1b[31mred", ""),
        (b"a" * 5000, "a" * 200 + "..."),
        (b"hi \xff\xfe", "hi"),
    ],
)
def test_words_are_readable_and_short(said: bytes, words: str) -> None:
    """Neither packets nor control characters reach the terminal."""
    assert no_sftp._shown(no_sftp._in_words(said)) == words
