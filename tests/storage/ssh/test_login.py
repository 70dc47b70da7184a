"""Who is trusted and who gets in: host keys, private keys, the agent, and everything that can be wrong with them."""

from __future__ import annotations

import base64
import logging
import os
import re
import shlex
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko
import pytest
from support.servers.sshd import KEY_KINDS, PASSPHRASE, client_key, open_backend

from lemmy_safety.errors import (
    HostKeyChanged,
    HostKeyUnknown,
    HostUnknown,
    LoginRefused,
    PrivateKeyError,
    StorageError,
    StorageMissing,
    StorageUnreachable,
)
from lemmy_safety.storage.ssh import SshStorage, login
from lemmy_safety.storage.ssh.errors import CONNECTION_ERRORS, VENDOR_ERRORS, translate
from lemmy_safety.storage.ssh.known_hosts import KnownHosts
from lemmy_safety.storage.ssh.private_keys import PrivateKeys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers.sshd import SshBackend

pytestmark = pytest.mark.external_service


@pytest.fixture(autouse=True)
def nobody_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key of the user who runs the tests is used."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A running ssh-agent without keys."""
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    yield
    process.kill()
    process.communicate()


def commands_in(hint: str) -> list[str]:
    return re.findall(r"  (ssh-key\S.*?)(?:  |$)", hint)


def works(storage: SshStorage) -> bool:
    with storage:
        return list(storage.list()) == []


def test_an_unknown_host_key_is_refused_with_the_command_that_trusts_it(backend: SshBackend) -> None:
    """The message shows the fingerprint that ssh-keygen shows; running the command of the hint is all that is needed."""
    backend.server.known_hosts.unlink()
    with pytest.raises(HostKeyUnknown) as caught:
        backend.storage().open()
    assert backend.server.host_fingerprint() in caught.value.message
    assert not backend.server.known_hosts.exists()
    (command,) = commands_in(caught.value.hint)
    assert command.startswith(f"ssh-keyscan -p {backend.server.port} -t ed25519 127.0.0.1 >> ")
    subprocess.run(command, shell=True, check=True, stderr=subprocess.DEVNULL)  # noqa: S602 - as an admin would
    assert works(backend.storage())


def test_a_changed_host_key_is_refused_and_can_be_replaced(backend: SshBackend) -> None:
    """Both fingerprints are named; the two commands of the hint replace the old key."""
    old = backend.server.host_fingerprint()
    backend.server.stop()
    backend.server.new_host_keys(["ed25519"])
    backend.server.start()
    with pytest.raises(HostKeyChanged) as caught:
        backend.storage().open()
    assert old in caught.value.message
    assert backend.server.host_fingerprint() in caught.value.message
    for command in commands_in(caught.value.hint):
        subprocess.run(command, shell=True, check=True, capture_output=True)  # noqa: S602
    assert works(backend.storage())


def test_a_host_key_that_changes_under_a_running_storage_is_refused(backend: SshBackend) -> None:
    """A reconnect checks again."""
    with backend.storage() as storage:
        backend.server.stop()
        backend.server.new_host_keys(["ed25519"])
        backend.server.start()
        with pytest.raises(HostKeyChanged):
            list(storage.list())


def test_hashed_host_names_are_understood(backend: SshBackend) -> None:
    """HashKnownHosts is Debian's default."""
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", backend.server.known_hosts], check=True, capture_output=True)
    assert "127.0.0.1" not in backend.server.known_hosts.read_text()
    assert works(backend.storage())


@pytest.mark.parametrize("known", ["ed25519", "ecdsa", "rsa"])
def test_the_server_is_asked_for_a_key_type_that_is_known(known: str) -> None:
    """A server with several host keys is recognised by whichever of them the file has."""
    types = ["ed25519", "ecdsa", "rsa"]
    with open_backend("ssh", host_key_types=types) as backend:
        lines = backend.server.known_hosts_lines()
        backend.server.known_hosts.write_text(lines[types.index(known)])
        assert works(backend.storage())


KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIH" + "A" * 42
OTHER = "AAAAC3NzaC1lZDI1NTE5AAAAIH" + "B" * 42


@pytest.mark.parametrize(
    ("text", "port", "outcome"),
    [
        (f"example.org ssh-ed25519 {KEY}", 22, None),
        (f"EXAMPLE.org,10.0.0.1 ssh-ed25519 {KEY} comment", 22, None),
        (f"*.org ssh-ed25519 {KEY}", 22, None),
        (f"exam?le.org ssh-ed25519 {KEY}", 22, None),
        (f"[example.org]:2222 ssh-ed25519 {KEY}", 2222, None),
        (f"[example.org]:* ssh-ed25519 {KEY}", 2222, None),
        (f"\n# comment\nbroken\nexample.org ssh-ed25519 %%%\nexample.org ssh-ed25519 {KEY}\r\n", 22, None),
        (f"example.org ssh-ed25519 {OTHER}\nexample.org ssh-ed25519 {KEY}", 22, None),
        (f"example.org ssh-ed25519 {KEY}", 2222, HostKeyUnknown),
        (f"[example.org]:2222 ssh-ed25519 {KEY}", 22, HostKeyUnknown),
        (f"*.org,!example.org ssh-ed25519 {KEY}", 22, HostKeyUnknown),
        (f"# example.org ssh-ed25519 {KEY}", 22, HostKeyUnknown),
        (f"@cert-authority example.org ssh-ed25519 {KEY}", 22, HostKeyUnknown),
        (f"|1|bad|hash ssh-ed25519 {KEY}", 22, HostKeyUnknown),
        ("", 22, HostKeyUnknown),
        (f"example.org ssh-ed25519 {OTHER}", 22, HostKeyChanged),
        (f"example.org ssh-rsa {OTHER}", 22, HostKeyChanged),
        (f"@revoked * ssh-ed25519 {KEY}\nexample.org ssh-ed25519 {KEY}", 22, HostKeyChanged),
    ],
)
def test_known_hosts_is_read_as_ssh_reads_it(tmp_path: Path, text: str, port: int, outcome: type | None) -> None:
    """Patterns, ports, markers and damaged lines, as sshd(8) describes them."""
    path = tmp_path / "known_hosts"
    path.write_bytes(text.encode() + b"\n\xff\xfe not utf-8\n")
    known = KnownHosts([path], "example.org", port)
    key = base64.b64decode(KEY)
    if outcome is None:
        known.check("ssh-ed25519", key)
        assert known.key_types() == ["ssh-ed25519"]
    else:
        with pytest.raises(outcome):
            known.check("ssh-ed25519", key)


@pytest.mark.parametrize(
    ("files", "written", "setting"),
    [
        (["~/.ssh/known_hosts"], "home/.ssh/known_hosts", ""),
        (["~/keys of mine"], "home/keys of mine", ""),
        ([os.devnull], "home/.ssh/known_hosts", "SSH_KNOWN_HOSTS=~/.ssh/known_hosts"),
        ([os.devnull, "~/second"], "home/second", ""),
    ],
)
@pytest.mark.parametrize("asked_by", ["", "ssh me@example.org"])
def test_the_command_that_trusts_a_key_writes_where_it_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, files: list[str], written: str, setting: str, asked_by: str
) -> None:
    """A shell leaves a quoted ~ as it is, and /dev/null keeps nothing."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    known = KnownHosts([Path(file) for file in files], "example.org", 22, asked_by=asked_by)
    with pytest.raises(HostKeyUnknown) as caught:
        known.check("ssh-ed25519", base64.b64decode(KEY))
    commands = commands_in(caught.value.hint)
    assert (f"{asked_by}  (it asks" in caught.value.hint) if asked_by else len(commands) == 1
    for command in commands:
        assert shlex.split(command)[-1] == str(tmp_path / written)
    assert setting in caught.value.hint
    assert bool(setting) == ("SSH_KNOWN_HOSTS" in caught.value.hint)


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_every_kind_of_key_logs_in(backend: SshBackend, kind: str) -> None:
    """ed25519, ecdsa and rsa, in OpenSSH's form and in PEM, open or locked by a passphrase."""
    key = backend.server.authorize(kind)
    passphrase = PASSPHRASE if kind.endswith("-locked") else None
    assert works(backend.storage(private_key=key, passphrase=passphrase))


@pytest.mark.parametrize("kind", [kind for kind in KEY_KINDS if kind.endswith("-locked")])
def test_a_locked_key_says_whether_its_passphrase_is_missing_or_wrong(backend: SshBackend, kind: str) -> None:
    """Without anybody to ask it is missing; a wrong one is called wrong, and is not shown."""
    key = backend.server.authorize(kind)
    with pytest.raises(PrivateKeyError, match=r"passphrase missing\. Set SSH_PASSPHRASE"):
        backend.storage(private_key=key).open()
    for wrong in ("hunter2-wrong", "", "ü"):
        with pytest.raises(PrivateKeyError, match=r"passphrase .* is wrong") as caught:
            backend.storage(private_key=key, passphrase=wrong).open()
        assert "hunter2" not in str(caught.value)
        assert str(key) in caught.value.message


def test_a_person_is_asked_once(backend: SshBackend) -> None:
    """The answer unlocks the key for reconnects and further connections too."""
    prompts = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return PASSPHRASE

    key = backend.server.authorize("ed25519-locked")
    with backend.storage(private_key=key, ask_passphrase=ask) as storage:
        backend.server.kill_sessions()
        assert list(storage.list()) == []
    assert len(prompts) == 1
    assert str(key) in prompts[0]


def test_a_wrong_answer_is_a_wrong_passphrase(backend: SshBackend) -> None:
    """It ends the try; no one is asked for ever."""
    key = backend.server.authorize("ed25519-locked")
    with pytest.raises(PrivateKeyError, match="wrong"):
        backend.storage(private_key=key, ask_passphrase=lambda _prompt: "no").open()


def test_an_open_key_needs_nobody(backend: SshBackend) -> None:
    """A passphrase setting that is not needed does no harm, and no one is asked."""
    assert works(backend.storage(passphrase="unused", ask_passphrase=pytest.fail))


def test_the_agent_is_used_without_a_key_file(backend: SshBackend, agent: None) -> None:
    """What ssh-add loaded is enough."""
    backend.server.authorize("rsa")
    for kind in ("ecdsa", "rsa"):
        subprocess.run(["ssh-add", "-q", client_key(kind)], check=True, capture_output=True)
    assert works(backend.storage(private_key=None))


def test_the_agent_stands_in_for_a_locked_key(backend: SshBackend, agent: None) -> None:
    """With the key in the agent its file's passphrase is not needed."""
    backend.server.authorize("ed25519-locked")
    askpass = {"SSH_ASKPASS_REQUIRE": "force", "SSH_ASKPASS": str(backend.server.folder / "askpass"), "DISPLAY": "x"}
    script = backend.server.folder / "askpass"
    script.write_text(f"#!/bin/sh\necho '{PASSPHRASE}'\n")
    script.chmod(0o700)
    locked = client_key("ed25519-locked")
    subprocess.run(["ssh-add", "-q", locked], check=True, capture_output=True, env={**os.environ, **askpass})
    assert works(backend.storage(private_key=locked, ask_passphrase=pytest.fail))


def test_a_default_key_is_used_without_a_key_file_and_an_agent(backend: SshBackend, tmp_path: Path) -> None:
    """As ssh does: ~/.ssh/id_ed25519 and its kin."""
    with pytest.raises(PrivateKeyError, match="no private key to log in"):
        backend.storage(private_key=None).open()
    folder = tmp_path / "home" / ".ssh"
    folder.mkdir(parents=True)
    (folder / "id_ed25519").write_text("damaged")
    (folder / "id_rsa").write_bytes(backend.server.authorize("rsa").read_bytes())
    assert works(backend.storage(private_key=None))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a key",
        b"\xff\x00\xfe" * 100,
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n-----END OPENSSH PRIVATE KEY-----\n",
        b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n",
        b"PuTTY-User-Key-File-3: ssh-ed25519\n",
    ],
)
def test_a_file_that_is_no_key_is_named(backend: SshBackend, tmp_path: Path, content: bytes) -> None:
    """Damaged files and other formats are one clear error."""
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(PrivateKeyError, match="is not a key that can be used"):
        backend.storage(private_key=path, passphrase="x").open()


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "rsa-pem", "ed25519-locked", "rsa-pem-locked"])
def test_a_damaged_key_is_one_clear_error(tmp_path: Path, kind: str) -> None:
    """Whichever byte of a key file is spoilt, and wherever it is cut off, nothing but our error comes out."""
    whole = client_key(kind).read_bytes()
    path = tmp_path / "key"
    refused = 0
    for position in range(0, len(whole), 61):
        spoilt = bytearray(whole)
        spoilt[position] ^= 1
        for content in (spoilt, whole[:position]):
            path.write_bytes(content)
            try:
                list(PrivateKeys(path, PASSPHRASE, None).candidates())
            except PrivateKeyError:
                refused += 1
    assert refused > len(whole) // 61 // 2


def test_a_missing_key_file_is_named(backend: SshBackend, tmp_path: Path) -> None:
    """The setting to correct is in the hint."""
    with pytest.raises(PrivateKeyError, match=r"private key file .*nothing does not exist") as caught:
        backend.storage(private_key=tmp_path / "nothing").open()
    assert "SSH_PRIVKEY" in caught.value.hint


def test_a_refused_login_names_user_host_and_key(backend: SshBackend) -> None:
    """A key that the server does not know, or another user."""
    with pytest.raises(LoginRefused) as caught:
        backend.storage(private_key=client_key("ecdsa")).open()
    for part in (backend.username, "127.0.0.1", str(client_key("ecdsa"))):
        assert part in caught.value.message
    backend.username = "nobody-of-that-name"
    with pytest.raises(LoginRefused, match="nobody-of-that-name"):
        backend.storage().open()


def test_a_server_that_wants_more_than_a_key_is_a_refused_login() -> None:
    """A second factor cannot be given; the message says which one it wants."""
    options = ["PasswordAuthentication yes", "AuthenticationMethods publickey,password"]
    with open_backend("ssh") as backend:
        backend.server.stop()
        backend.server.prepend(options)
        backend.server.start()
        with pytest.raises(LoginRefused, match="password"):
            backend.storage().open()


def test_a_host_name_that_does_not_resolve_is_named(backend: SshBackend) -> None:
    """One that can be no name at all is refused before (``test_ssh_config``)."""
    host, known_hosts = "no-such-host.invalid", backend.server.known_hosts
    storage = SshStorage(host, 22, "me", private_key=None, passphrase=None, known_hosts=known_hosts, root="/")
    with pytest.raises(HostUnknown, match="does not resolve"):
        storage.open()


def test_a_name_that_resolved_before_is_an_outage(backend: SshBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the name service fails later, the daemon goes on trying."""
    with backend.storage() as storage:
        backend.server.kill_sessions()

        def fail(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

        monkeypatch.setattr(socket, "create_connection", fail)
        with pytest.raises(StorageUnreachable):
            storage.stat("x")


def test_a_closed_port_is_unreachable(backend: SshBackend) -> None:
    """With the address in the message."""
    backend.server.stop()
    with pytest.raises(StorageUnreachable, match=f"127.0.0.1:{backend.server.port}"):
        backend.storage().open()


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-silent\r\n", b"x" * 99_999])
def test_what_is_no_ssh_server_is_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, greeting: bytes) -> None:
    """A server that is silent or speaks something else is given up, never waited for without end."""
    monkeypatch.setattr(login, "BANNER_TIMEOUT_S", 0.3)
    monkeypatch.setattr(login, "HANDSHAKE_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []
        stopped = threading.Event()

        def serve() -> None:
            while not stopped.is_set():
                connection, _ = server.accept()
                connection.sendall(greeting)
                held.append(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        known_hosts = tmp_path / "known_hosts"
        storage = SshStorage(
            "127.0.0.1", port, "me", private_key=None, passphrase=None, known_hosts=known_hosts, root="/"
        )
        with pytest.raises(StorageUnreachable) as caught:
            storage.open()
        assert "No existing session" not in caught.value.message
        stopped.set()
        socket.create_connection(("127.0.0.1", port)).close()
        thread.join()
        for connection in held:
            connection.close()


@pytest.mark.parametrize("kind", ["missing", "file", "below a file"])
def test_a_root_that_is_no_folder_is_missing(backend: SshBackend, kind: str) -> None:
    """The folder is named, and the setting to fix."""
    backend.put("file", b"x")
    root = {"missing": "nothing/here", "file": "file", "below a file": "file/x"}[kind]
    with pytest.raises(StorageMissing, match=root) as caught:
        backend.storage(root=f"{backend.root}/{root}").open()
    assert "PICTRS_FILES_DIRECTORY" in caught.value.hint


def test_a_server_without_sftp_is_told_so() -> None:
    """Logging in works, and the server says no to the subsystem."""
    with (
        open_backend("ssh", ["Subsystem other /bin/false"]) as backend,
        pytest.raises(StorageError, match="SFTP") as caught,
    ):
        backend.storage().open()
    assert "Subsystem sftp" in caught.value.hint


def test_no_secret_is_logged(backend: SshBackend, caplog: pytest.LogCaptureFixture) -> None:
    """Not even at the most talkative level."""
    caplog.set_level(logging.DEBUG)
    key = backend.server.authorize("ed25519-locked")
    assert works(backend.storage(private_key=key, passphrase=PASSPHRASE))
    assert caplog.records
    assert PASSPHRASE not in caplog.text


def test_every_exception_of_paramiko_has_an_answer() -> None:
    """A class that a new paramiko adds is noticed here, before it surprises an admin."""
    module = paramiko.ssh_exception
    theirs = {item for item in vars(module).values() if isinstance(item, type) and item.__module__ == module.__name__}
    assert len(theirs) >= 10
    assert theirs <= VENDOR_ERRORS.keys()
    for kind in CONNECTION_ERRORS:
        assert isinstance(translate(kind("x"), "me@host:22"), StorageError)
    assert isinstance(translate(TimeoutError(), "me@host:22"), StorageUnreachable)
    assert "me@host:22" in str(translate(ConnectionResetError("reset"), "me@host:22"))
