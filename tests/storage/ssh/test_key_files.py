"""Files that are given as private keys: every form that can be used is, and every other is named with what to do."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.servers.sshd import PASSPHRASE, client_key, open_backend

from lemmy_safety.errors import PrivateKeyError
from lemmy_safety.storage.ssh.private_keys import PrivateKeys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers.sshd import SshBackend


@pytest.fixture(autouse=True)
def nobody_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key of the person who runs the tests is used."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture(scope="module")
def backend() -> Iterator[SshBackend]:
    with open_backend("ssh") as place:
        yield place


def offered(path: Path, passphrase: str | None = None) -> list[str]:
    """The kinds of keys that a file gives."""
    return [key.get_name() for _, key in PrivateKeys(path, passphrase, None).candidates()]


def refusal(path: Path, passphrase: str | None = None) -> PrivateKeyError:
    with pytest.raises(PrivateKeyError) as caught:
        offered(path, passphrase)
    return caught.value


KEYS = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.mark.external_service
@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("locked", [False, True], ids=["open", "locked"])
def test_a_pkcs8_key_logs_in(backend: SshBackend, tmp_path: Path, kind: str, locked: bool) -> None:
    """``BEGIN PRIVATE KEY`` and ``BEGIN ENCRYPTED PRIVATE KEY``, as openssl and cloud consoles write them."""
    key = KEYS[kind]()
    lock = BestAvailableEncryption(PASSPHRASE.encode()) if locked else NoEncryption()
    path = tmp_path / "key"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
    path.chmod(0o600)
    made = subprocess.run(
        ["ssh-keygen", "-y", "-P", PASSPHRASE if locked else "", "-f", path], check=False, capture_output=True
    )
    if made.returncode:  # this ssh-keygen does not read PKCS #8 of ed25519
        made.stdout = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n"
    with (backend.server.folder / "authorized_keys").open("ab") as file:
        file.write(made.stdout)
    with backend.storage(private_key=path, passphrase=PASSPHRASE if locked else None) as storage:
        assert list(storage.list()) == []
    if locked:
        assert "passphrase missing" in refusal(path).message
        assert "is wrong" in refusal(path, "no").message


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.decode().encode("utf-16"),
        lambda data: b"\n\n  " + data.replace(b"\n", b"  \n") + b"\n",
        lambda data: data.rstrip(),
        lambda data: data.replace(b"\n", b"\r"),
    ],
    ids=["CRLF", "byte order mark", "UTF-16", "blanks", "no last newline", "CR"],
)
@pytest.mark.parametrize("kind", ["ed25519", "rsa-pem", "rsa-pem-locked", "ed25519-locked"])
def test_what_editors_do_to_a_key_does_no_harm(tmp_path: Path, kind: str, change) -> None:
    """Windows line ends, byte order marks and blanks."""
    path = tmp_path / "key"
    path.write_bytes(change(client_key(kind).read_bytes()))
    assert len(offered(path, PASSPHRASE)) == 1


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def pem(key, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


def openssh(kind: bytes) -> str:
    """The unlocked beginning of a private key file of this kind."""
    inner = b"openssh-key-v1\0\0\0\0\4none\0\0\0\4none\0\0\0\0\0\0\0\1\0\0\0\x50" + len(kind).to_bytes(4, "big") + kind
    text = base64.encodebytes(inner + b"\0" * 200).decode()
    return f"-----BEGIN OPENSSH PRIVATE KEY-----\n{text}-----END OPENSSH PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("content", "said", "hint"),
    [
        (b"", "is empty", "ssh-keygen"),
        (b" \r\n\n", "is empty", "ssh-keygen"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH me@here\n", "a public key", "file with the private key"),
        ("ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAy", "a public key", "file with the private key"),
        ("sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1", "a public key", "file with the private key"),
        ("-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n", "a public key", "private key"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", "a public key", "private key"),
        ("ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQ= x", "a certificate", "KEYFILE-cert.pub"),
        ("-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n", "TLS certificate", "ssh-keygen"),
        ("PuTTY-User-Key-File-2: ssh-rsa\n", "PuTTY", "puttygen"),
        ("PuTTY-User-Key-File-3: ssh-ed25519\r\n", "PuTTY", "Export OpenSSH key"),
        (openssh(b"sk-ssh-ed25519@openssh.com"), "FIDO", "ssh-add"),
        (openssh(b"sk-ecdsa-sha2-nistp256@openssh.com"), "FIDO", "agent"),
        (openssh(b"ssh-dss"), "DSA", "ed25519"),
        ("-----BEGIN DSA PRIVATE KEY-----\nMIIB\n-----END DSA PRIVATE KEY-----\n", "DSA", "ed25519"),
        ("-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----\n", "damaged", "ssh-keygen"),
        (pem(ed448.Ed448PrivateKey.generate()), "of a kind that SSH", "ed25519"),
        (pem(x25519.X25519PrivateKey.generate()), "of a kind that SSH", "ed25519"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "curve", "ed25519"),
        (pem(ec.generate_private_key(ec.SECP256K1()), PrivateFormat.TraditionalOpenSSL), "curve", "ed25519"),
        ("hello", "none of the forms", "ssh-keygen"),
        (b"\x00\xff" * 1000, "none of the forms", "ssh-keygen"),
        ("[example.org]:22 ssh-ed25519 AAAA", "none of the forms", "ssh-keygen"),
    ],
)
def test_what_is_no_private_key_is_named(tmp_path: Path, content: bytes | str, said: str, hint: str) -> None:
    """What it is, and what to give instead."""
    error = refusal(write(tmp_path / "file", content))
    assert error.exit_code == 18
    assert "is not a key that can be used" in error.message
    assert said in error.message
    assert hint in error.hint


def test_a_public_key_leads_to_the_private_one_beside_it(tmp_path: Path) -> None:
    """By its path, where it exists."""
    public = client_key("ed25519").with_suffix(".pub")
    assert f"SSH_PRIVKEY to {client_key('ed25519')}." in refusal(public).hint
    alone = write(tmp_path / "key.pub", public.read_bytes())
    assert f"Its private key {alone.with_suffix('')} does not exist here" in refusal(alone).hint


def test_a_public_key_names_the_key_of_an_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ssh does, for keys that never leave the agent."""
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        for kind in ("ecdsa", "rsa", "ed25519"):
            subprocess.run(["ssh-add", "-q", client_key(kind)], check=True, capture_output=True, env=os.environ)
        assert offered(client_key("rsa").with_suffix(".pub")) == ["ssh-rsa"]
        assert "a public key" in refusal(client_key("rsa-pem").with_suffix(".pub")).message
        every = PrivateKeys(None, None, None)
        assert len(list(every.candidates())) == 3
        locked = PrivateKeys(None, None, None, identities=[client_key("ed25519-locked")], identities_only=True)
        assert list(locked.candidates()) == []
        assert "passphrase missing" in locked.skipped[0]
    finally:
        process.kill()
        process.communicate()


def test_a_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    """A folder is no file, and neither is what lies below a file."""
    assert "it is a folder" in refusal(tmp_path).message
    for path in (tmp_path / "nothing", write(tmp_path / "file", "x") / "below", tmp_path / "nothing.pub"):
        assert refusal(path).message == f"The SSH private key file {path} does not exist."


@pytest.mark.parametrize(
    ("named", "there", "said"),
    [
        ("key", [], "Set SSH_PRIVKEY to the file with the private key."),
        ("key", ["key.pub"], "Only its public half {there}.pub is here"),
        ("key.pub", [], "Its private key {there} does not exist here"),
        ("key.pub", ["key"], "Set SSH_PRIVKEY to {there}."),
    ],
)
def test_the_fix_for_a_missing_key_is_by_what_lies_beside_it(
    tmp_path: Path, named: str, there: list[str], said: str
) -> None:
    """No file is advised that does not exist."""
    for name in there:
        write(tmp_path / name, "x")
    assert said.format(there=tmp_path / "key") in refusal(tmp_path / named).hint


@pytest.mark.skipif("os.name != 'posix' or os.geteuid() == 0", reason="root may read everything")
def test_a_key_that_may_not_be_read_names_the_command_that_helps(tmp_path: Path) -> None:
    """Here it is the mode; of another owner tests/cli/environment/test_hints_in_the_image.py tells."""
    path = write(tmp_path / "key", client_key("ed25519").read_bytes())
    path.chmod(0)
    assert f"keep its own user {os.geteuid()} out: chmod 600 {path}" in refusal(path).hint


def test_a_key_that_others_may_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """ssh refuses such a key; here it works, since folders from outside a container often allow no better."""
    path = write(tmp_path / "key", client_key("ed25519").read_bytes())
    path.chmod(0o644)
    assert offered(path) == ["ssh-ed25519"]
    assert f"chmod 600 {path}" in caplog.text
    caplog.clear()
    path.chmod(stat.S_IRUSR)
    assert offered(path) == ["ssh-ed25519"]
    assert caplog.text == ""


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    head=st.sampled_from(
        ["OPENSSH PRIVATE KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"]
    ),
    body=st.binary(max_size=200),
    raw=st.booleans(),
)
def test_whatever_a_file_holds_it_is_a_key_or_one_clear_error(
    tmp_path: Path, head: str, body: bytes, raw: bool
) -> None:
    """No exception of a library comes out, with and without a passphrase."""
    inner = body if raw else base64.encodebytes(b"openssh-key-v1\0" + body)
    path = write(tmp_path / "key", f"-----BEGIN {head}-----\n".encode() + inner + f"-----END {head}-----\n".encode())
    for passphrase in (None, "x"):
        error = refusal(path, passphrase)
        assert str(path) in error.message
