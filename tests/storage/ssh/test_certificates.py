"""Certificates of users and of hosts, made by ssh-keygen and judged by a real sshd."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.servers.sshd import SshBackend, client_key, open_backend

from lemmy_safety.errors import HostKeyChanged, HostKeyUnknown, LoginRefused
from lemmy_safety.storage.ssh import SshStorage, read_ssh_config
from lemmy_safety.storage.ssh.certificates import read_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.external_service


@pytest.fixture(autouse=True)
def nobody_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key and no config file of the person who runs the tests is used."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    return make_key(tmp_path / "ca")


@pytest.fixture
def backend(authority: Path) -> Iterator[SshBackend]:
    """A server that accepts certificates of the authority, and no plain key."""
    with open_backend("ssh", [f"TrustedUserCAKeys {authority}.pub"]) as place:
        (place.server.folder / "authorized_keys").write_text("")
        yield place


def make_key(path: Path, *kind: str) -> Path:
    subprocess.run(["ssh-keygen", "-q", *(kind or ("-t", "ed25519")), "-N", "", "-f", path], check=True)
    return path


def sign(authority: Path, key: Path, *options: str) -> Path:
    """The certificate, which ssh-keygen writes beside the key."""
    command = ["ssh-keygen", "-q", "-s", authority, "-I", "test", *options, f"{key}.pub"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return key.with_name(f"{key.name}-cert.pub")


def works(storage: SshStorage) -> bool:
    with storage:
        return list(storage.list()) == []


KINDS = [("-t", "ed25519"), ("-t", "ecdsa", "-b", "256"), ("-t", "ecdsa", "-b", "521"), ("-t", "rsa", "-b", "2048")]


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_a_certificate_beside_the_key_logs_in(
    backend: SshBackend, authority: Path, tmp_path: Path, kind: tuple[str, ...]
) -> None:
    """Found by its name, as ssh does; without it the plain key is refused."""
    key = make_key(tmp_path / "key", *kind)
    with pytest.raises(LoginRefused):
        backend.storage(private_key=key).open()
    sign(authority, key, "-n", backend.username)
    assert works(backend.storage(private_key=key))


def test_a_certificate_that_the_config_file_names_logs_in(backend: SshBackend, authority: Path, tmp_path: Path) -> None:
    """Wherever it lies; one that belongs to another key is passed over."""
    key = make_key(tmp_path / "key")
    other = sign(authority, make_key(tmp_path / "other"), "-n", backend.username)
    elsewhere = sign(authority, key, "-n", backend.username).rename(tmp_path / "elsewhere.pub")
    (tmp_path / "config").write_text(f"Host *\n CertificateFile {other}\n")
    with pytest.raises(LoginRefused):
        backend.storage(private_key=key, config=read_ssh_config(tmp_path / "config")).open()
    (tmp_path / "config").write_text(f"Host *\n CertificateFile {elsewhere}\n IdentityFile {key}\n")
    assert works(backend.storage(private_key=None, config=read_ssh_config(tmp_path / "config")))


def test_a_plain_key_still_logs_in_beside_a_certificate_that_does_not(authority: Path, tmp_path: Path) -> None:
    """The server may know one of the two only."""
    with open_backend("ssh") as backend:
        key = tmp_path / "key"
        for suffix in ("", ".pub"):
            shutil.copy(f"{client_key('ed25519')}{suffix}", f"{key}{suffix}")
        sign(authority, key, "-n", "another")
        assert works(backend.storage(private_key=key))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-V", "20200101:20200102"), "ran out on 2020-01-0"),
        (("-V", "20900101:20910101"), "holds only from"),
    ],
)
def test_a_certificate_out_of_its_time_is_named(
    backend: SshBackend, authority: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    """sshd says no more than no."""
    key = make_key(tmp_path / "key")
    sign(authority, key, "-n", backend.username, *options)
    with pytest.raises(LoginRefused, match=said):
        backend.storage(private_key=key).open()


def test_a_damaged_certificate_is_said_and_passed_over(
    backend: SshBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The plain key is tried all the same."""
    backend.server.authorize("ed25519")
    key = tmp_path / "key"
    shutil.copy(client_key("ed25519"), key)
    for content in ("", "ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519-cert-v01@openssh.com AAAA", "x" * 100):
        (tmp_path / "key-cert.pub").write_text(content)
        caplog.clear()
        assert works(backend.storage(private_key=key))
        assert "key-cert.pub cannot be used" in caplog.text


def test_the_agent_may_hold_the_certificate(
    backend: SshBackend, authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ssh-add takes it together with its key."""
    key = make_key(tmp_path / "key")
    sign(authority, key, "-n", backend.username)
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(["ssh-add", "-q", key], check=True, capture_output=True, env=os.environ)
        assert works(backend.storage(private_key=None))
    finally:
        process.kill()
        process.communicate()


class CertifiedHost:
    """A server that shows a certificate of its host key, and a known_hosts that names the authority only."""

    def __init__(self, backend: SshBackend, authority: Path) -> None:
        self.backend = backend
        self.authority = authority
        self.line(f"@cert-authority * {self.public(authority)}")

    @staticmethod
    def public(key: Path) -> str:
        return key.with_name(f"{key.name}.pub").read_text()

    def line(self, *lines: str) -> None:
        self.backend.server.known_hosts.write_text("".join(lines))

    def show(self, *options: str, authority: Path | None = None) -> None:
        server = self.backend.server
        server.stop()
        certificate = sign(authority or self.authority, server.host_keys[0], "-h", *options)
        server.prepend([f"HostCertificate {certificate}"])
        server.start()


@pytest.fixture(params=["ed25519"])
def host(request: pytest.FixtureRequest, authority: Path) -> Iterator[CertifiedHost]:
    with open_backend("ssh", host_key_types=[request.param]) as backend:
        yield CertifiedHost(backend, authority)


@pytest.mark.parametrize("host", ["ed25519", "ecdsa", "rsa"], indirect=True)
def test_a_host_certificate_is_trusted_for_its_authority(host: CertifiedHost) -> None:
    """Without a line for the host itself; the names in it are those of the host."""
    with pytest.raises(HostKeyUnknown, match="shows no certificate"):
        host.backend.storage().open()
    host.show("-n", "example.org,127.0.0.1")
    assert works(host.backend.storage())
    host.show()
    assert works(host.backend.storage())
    host.show("-n", "127.0.*")
    assert works(host.backend.storage())


@pytest.mark.parametrize("kind", KINDS[1:], ids=" ".join)
def test_authorities_may_have_keys_of_any_kind(host: CertifiedHost, tmp_path: Path, kind: tuple[str, ...]) -> None:
    """ecdsa and rsa too."""
    other = make_key(tmp_path / "other", *kind)
    host.line(f"@cert-authority [127.0.0.1]:* {host.public(other)}")
    host.show("-n", "127.0.0.1", authority=other)
    assert works(host.backend.storage())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-n", "example.org"), "is made for example.org"),
        (("-n", "127.0.0.1", "-V", "20200101:20200102"), "ran out on 2020"),
        (("-n", "127.0.0.1", "-V", "20900101:20910101"), "holds only from 20"),
    ],
)
def test_a_host_certificate_that_does_not_hold_is_refused(
    host: CertifiedHost, options: tuple[str, ...], said: str
) -> None:
    """Another name, another time: what is wrong is said."""
    host.show(*options)
    with pytest.raises(HostKeyUnknown, match=said):
        host.backend.storage().open()


def test_a_certificate_of_an_unknown_authority_counts_as_its_plain_key(host: CertifiedHost, tmp_path: Path) -> None:
    """Refused where known_hosts does not have that key, trusted where it does."""
    host.show("-n", "127.0.0.1", authority=make_key(tmp_path / "other"))
    with pytest.raises(HostKeyUnknown, match="another authority"):
        host.backend.storage().open()
    host.line(f"@cert-authority * {host.public(host.authority)}", *host.backend.server.known_hosts_lines())
    assert works(host.backend.storage())


def test_an_authority_for_other_hosts_is_none_for_this_one(host: CertifiedHost) -> None:
    """Its line has patterns, as every other."""
    host.show("-n", "127.0.0.1")
    host.line(f"@cert-authority *.example.org {host.public(host.authority)}")
    with pytest.raises(HostKeyUnknown):
        host.backend.storage().open()


def test_a_revoked_authority_is_not_trusted(host: CertifiedHost) -> None:
    """Nor is a revoked host key that an authority has signed."""
    host.show("-n", "127.0.0.1")
    trusted = f"@cert-authority * {host.public(host.authority)}"
    host.line(trusted, f"@revoked * {host.public(host.authority)}")
    with pytest.raises(HostKeyUnknown):
        host.backend.storage().open()
    host.line(trusted, f"@revoked * {host.public(host.backend.server.host_keys[0])}")
    with pytest.raises(HostKeyChanged, match="revoked"):
        host.backend.storage().open()


def test_a_forged_certificate_is_refused(host: CertifiedHost, tmp_path: Path) -> None:
    """One whose signature is wrong is no certificate, whatever it says of its authority."""
    path = sign(host.authority, make_key(tmp_path / "key"), "-h", "-n", "127.0.0.1")
    kind, text, *_ = path.read_text().split()
    for position in range(len(text) // 3, len(text) - 4, 37):
        forged = text[:position] + ("A" if text[position] != "A" else "B") + text[position + 1 :]
        path.write_text(f"{kind} {forged}")
        with pytest.raises(ValueError, match=r"it |its "):
            read_certificate(path)
