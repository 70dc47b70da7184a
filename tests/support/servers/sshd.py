"""A real OpenSSH server for tests, on a free port of this machine, with a shell account and one for SFTP only.

The shell account is the user who runs the tests. The SFTP-only account needs root: a system user is made for the process,
locked into a folder (ChrootDirectory, ForceCommand internal-sftp), and removed at the end. The same user with a shell
and without the jail is an account that may not do everything.
"""

from __future__ import annotations

import atexit
import contextlib
import getpass
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import psutil
import pytest
from support.servers.base import free_port, not_tested
from support.storage.backends import LocalBackend

from lemmy_safety.storage.ssh import SshStorage, SshTunnel
from lemmy_safety.storage.ssh.ssh_config import SshConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


#: sshd insists on being started by its absolute path.
_SSHD = next(
    (path for path in ("/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd") if Path(path).exists()), None
)

PASSPHRASE = "correct horse battery staple"

#: What ssh-keygen is given for each kind of client key.
KEY_KINDS = {
    "ed25519": ("-t", "ed25519"),
    "ecdsa": ("-t", "ecdsa", "-b", "384"),
    "ecdsa-pem": ("-t", "ecdsa", "-m", "PEM"),
    "rsa": ("-t", "rsa", "-b", "2048"),
    "rsa-pem": ("-t", "rsa", "-b", "2048", "-m", "PEM"),
    "ed25519-locked": ("-t", "ed25519"),
    "ecdsa-locked": ("-t", "ecdsa"),
    "rsa-locked": ("-t", "rsa", "-b", "2048"),
    "rsa-pem-locked": ("-t", "rsa", "-b", "2048", "-m", "PEM"),
}


def require_sshd() -> str:
    """The path of sshd; without one the test is skipped, or fails where CI promised one."""
    if _SSHD is None:
        not_tested("OpenSSH's sshd is not installed (apt-get install openssh-server): SSH IS NOT TESTED")
    return _SSHD


@cache
def _keys_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="lemmy-safety-keys-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def client_key(kind: str) -> Path:
    """A private key, made once per process; FILE.pub lies beside it. Those ``-locked`` need PASSPHRASE."""
    path = _keys_folder() / kind
    _keygen(path, *KEY_KINDS[kind], passphrase=PASSPHRASE if kind.endswith("-locked") else "")
    return path


def _keygen(path: Path, *options: str, passphrase: str = "") -> None:
    subprocess.run(["ssh-keygen", "-q", *options, "-N", passphrase, "-C", "test", "-f", path], check=True)


@cache
def plain_user() -> str:
    """A system user of this process, who owns nothing; skips loudly where none can be made."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("useradd") is None:
        pytest.skip("only root can make accounts: SFTP WITHOUT A SHELL AND REFUSED PERMISSIONS ARE NOT TESTED")
    # Of this process, so that two test runs on one machine do not take each other's user away.
    name = f"lemmysftp{os.getpid()}"
    # "*" is no password and, unlike "!", no locked account.
    subprocess.run(["useradd", "-M", "-d", "/", "-s", "/bin/sh", "-p", "*", name], check=True)
    atexit.register(subprocess.run, ["userdel", name], check=False, stderr=subprocess.DEVNULL)
    return name


class SshServer:
    """Start, stop and start again on the same port. ``options`` are further lines of sshd_config.

    ``environment`` is that of the accounts' commands from the next start on.
    """

    host = "127.0.0.1"

    def __init__(self, options: Sequence[str] = (), *, host_key_types: Sequence[str] = ("ed25519",)) -> None:
        self._sshd = require_sshd()
        self.folder = Path(tempfile.mkdtemp(prefix="lemmy-safety-sshd-"))
        # sshd reads authorized_keys as the user who logs in.
        self.folder.chmod(0o755)
        self.known_hosts = self.folder / "known_hosts"
        self._authorized = self.folder / "authorized_keys"
        self._authorized.touch()
        self._options = list(options)
        self._first_options: list[str] = []
        # The start-up files of the user who runs the tests are no part of them.
        self.environment = {"HOME": str(self.folder)}
        self._process: subprocess.Popen[bytes] | None = None
        self.host_keys: list[Path] = []
        self.new_host_keys(host_key_types)
        self.port = free_port()
        self.trust()

    def new_host_keys(self, types: Sequence[str]) -> None:
        """From the next start on the server has other host keys; known_hosts is left as it is."""
        for path in self.host_keys:
            path.unlink()
        self.host_keys = [self.folder / f"host_{kind}" for kind in types]
        for path, kind in zip(self.host_keys, types, strict=True):
            _keygen(path, "-t", kind)

    def known_hosts_lines(self) -> list[str]:
        """One line per host key, as ssh-keyscan prints them."""
        return [f"[{self.host}]:{self.port} {key.with_suffix('.pub').read_text()}" for key in self.host_keys]

    def trust(self) -> None:
        """Write the present host keys into known_hosts."""
        self.known_hosts.write_text("".join(self.known_hosts_lines()))

    def prepend(self, options: Sequence[str]) -> None:
        """Lines that count before all others (sshd takes the first value it sees) from the next start on."""
        self._first_options = list(options)

    def drop(self, option: str) -> None:
        """From the next start on this line is gone."""
        self._options.remove(option)

    def host_fingerprint(self) -> str:
        """What ssh-keygen says of the first host key."""
        shown = subprocess.run(["ssh-keygen", "-lf", self.host_keys[0]], check=True, capture_output=True, text=True)
        return shown.stdout.split()[1]

    def authorize(self, kind: str) -> Path:
        """Let this kind of client key in; returns the private key."""
        key = client_key(kind)
        public = key.with_suffix(".pub").read_text()
        if public not in self._authorized.read_text():
            with self._authorized.open("a") as file:
                file.write(public)
        return key

    def start(self) -> None:
        """Return when it answers."""
        if self._process is not None:
            return
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.folder / "sshd_config"
        lines = [
            *self._first_options,
            f"Port {self.port}",
            f"ListenAddress {self.host}",
            *(f"HostKey {key}" for key in self.host_keys),
            "PidFile none",
            f"AuthorizedKeysFile {self._authorized}",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "LogLevel VERBOSE",
            "SetEnv " + " ".join(f"{name}={value}" for name, value in self.environment.items()),
            *(
                []
                if any(line.startswith("Subsystem") for line in (*self._first_options, *self._options))
                else ["Subsystem sftp internal-sftp"]
            ),
            *self._options,
        ]
        config.write_text("\n".join(lines) + "\n")
        self._process = subprocess.Popen([self._sshd, "-D", "-f", config, "-E", self.folder / "log"])
        pause = threading.Event()
        for _ in range(500):
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=5) as probe:
                if probe.recv(4) == b"SSH-":
                    return
            pause.wait(0.01)
        said = self.log()
        self.stop()
        raise AssertionError(f"sshd did not start:\n{said}")

    def log(self) -> str:
        """What the server wrote so far."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def process(self) -> psutil.Process:
        """The process that listens."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def sessions(self) -> list[psutil.Process]:
        """The processes that serve live connections."""
        if self._process is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self._process.pid).children(recursive=True)
        return []

    def kill_sessions(self) -> None:
        """Cut every live connection; the server goes on listening."""
        for process in self.sessions():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self) -> None:
        """Kill the server and every live connection."""
        if self._process is None:
            return
        # Children are killed by name of their parent, so while it still has them; twice, for those just born.
        self.kill_sessions()
        sessions = self.sessions()
        self._process.kill()
        self._process.wait()
        for process in sessions:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process = None

    def close(self) -> None:
        """Stop for good and leave nothing behind."""
        self.stop()
        shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SshBackend(LocalBackend):
    """A folder of this machine, reached over SSH by an account with a shell."""

    label = scheme = "ssh"
    has_server = True

    def __init__(self, server: SshServer, root: Path) -> None:
        super().__init__(root)
        self.server = server
        self.username = getpass.getuser()
        self.seen_root = str(root)
        self.key = server.authorize("ed25519")

    def storage(self, **changes) -> SshStorage:
        how = {
            "private_key": self.key,
            "passphrase": None,
            "known_hosts": self.server.known_hosts,
            "root": self.seen_root,
        }
        return SshStorage(self.server.host, self.server.port, self.username, **(how | changes))

    def tunnel(self, target: tuple[str, int], what: str = "the service") -> SshTunnel:
        """By the same account."""
        return SshTunnel(
            self.server.host,
            self.server.port,
            self.username,
            private_key=self.key,
            passphrase=None,
            known_hosts=self.server.known_hosts,
            config=SshConfig(),
            ask_passphrase=None,
            target=target,
            what=what,
        )

    def settings(self) -> dict[str, str]:
        """The variables of an admin who uses this account."""
        return {
            "SSH_HOSTNAME": self.server.host,
            "SSH_PORT": str(self.server.port),
            "SSH_USERNAME": self.username,
            "SSH_PRIVKEY": str(self.key),
            "SSH_KNOWN_HOSTS": str(self.server.known_hosts),
            "SSH_CONFIG": "none",
        }

    def break_off(self) -> None:
        self.server.stop()

    def come_back(self) -> None:
        self.server.start()


class PlainUserBackend(SshBackend):
    """A folder reached by an account with a shell that is not root."""

    can_forbid = True

    def __init__(self, server: SshServer, root: Path, username: str) -> None:
        super().__init__(server, root)
        self.username = username
        shutil.chown(root, username)

    def put_raw_name(self, name: bytes, data: bytes) -> None:
        super().put_raw_name(name, data)
        path = self.root / os.fsdecode(name)
        while path != self.root:
            shutil.chown(path, self.username)
            path = path.parent

    def forbid(self, key: str) -> None:
        path = self._path(key)
        for item, mode in ((path, stat.S_IRUSR | stat.S_IWUSR), (path.parent, 0o755)):
            shutil.chown(item, "root")
            item.chmod(mode)


class SftpBackend(PlainUserBackend):
    """The same account, which may do nothing but SFTP and sees nothing but its jail."""

    label = "sftp"
    scheme = "ssh"

    def __init__(self, server: SshServer, root: Path, username: str) -> None:
        super().__init__(server, root, username)
        self.seen_root = "/" + root.name


@contextlib.contextmanager
def open_backend(
    kind: Literal["ssh", "sftp", "ssh-plain-user"],
    options: Sequence[str] = (),
    *,
    host_key_types: Sequence[str] = ("ed25519",),
    permit_open: Sequence[str] = (),
) -> Iterator[SshBackend]:
    """A server of its own with an empty folder, reached with a shell (ssh) or without one (sftp).

    ``permit_open``: the addresses that the SFTP-only account may connect to, as docs/operations.md has it.
    """
    require_sshd()
    username = "" if kind == "ssh" else plain_user()
    # Every folder above a jail must belong to root and be writable by root only, which /tmp is not.
    jail = Path(tempfile.mkdtemp(prefix="lemmy-safety-", dir="/run" if kind == "sftp" else None)).resolve()
    try:
        jail.chmod(0o755)
        root = jail / "store"
        root.mkdir()
        if kind == "sftp":
            options = [
                *options,
                f"Match User {username}",
                f"ChrootDirectory {jail}",
                "ForceCommand internal-sftp",
                *(
                    ["AllowTcpForwarding local", f"PermitOpen {' '.join(permit_open)}"]
                    if permit_open
                    else ["AllowTcpForwarding no"]
                ),
                "PermitTTY no",
            ]
        with SshServer(options, host_key_types=host_key_types) as server:
            if kind == "ssh":
                yield SshBackend(server, root)
            else:
                yield (SftpBackend if kind == "sftp" else PlainUserBackend)(server, root, username)
    finally:
        for folder, _, _ in os.walk(jail):
            Path(folder).chmod(0o755)
        shutil.rmtree(jail)
