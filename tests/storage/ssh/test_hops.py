"""Servers behind others: aliases, jump hosts and proxy commands of OpenSSH's config file, with real servers."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest
from support.servers.sshd import PASSPHRASE, SshServer, client_key, open_backend
from support.storage.ssh import connect_detail, links

from lemmy_safety.errors import (
    HostKeyChanged,
    HostKeyUnknown,
    LoginRefused,
    SettingsError,
    StorageError,
    StorageUnreachable,
)
from lemmy_safety.storage.ssh import SshStorage, read_ssh_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers.sshd import SshBackend

pytestmark = pytest.mark.external_service


@pytest.fixture(autouse=True)
def nobody_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key and no config file of the person who runs the tests is used."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


class Admin:
    """A config file, and storages that are opened with it."""

    def __init__(self, backend: SshBackend, folder: Path) -> None:
        self.backend = backend
        self.path = folder / "config"

    def block(self, name: str, server: SshServer, *more: str, key: str = "ed25519", file: str = "known_hosts") -> str:
        """A Host block with all that a login at this server needs."""
        lines = [
            f"Host {name}",
            f"HostName {server.host}",
            f"Port {server.port}",
            f"User {self.backend.username}",
            f"IdentityFile {server.authorize(key)}",
            f"UserKnownHostsFile {server.folder / file}",
            *more,
        ]
        return "\n  ".join(lines) + "\n"

    def storage(self, name: str, *blocks: str, **changes) -> SshStorage:
        self.path.write_text("\n".join(blocks))
        how = {
            "private_key": None,
            "passphrase": None,
            "known_hosts": None,
            "root": self.backend.seen_root,
            "config": read_ssh_config(self.path),
        }
        return SshStorage(name, changes.pop("port", None), changes.pop("username", None), **(how | changes))


@pytest.fixture
def admin(backend: SshBackend, tmp_path: Path) -> Admin:
    backend.put("a.jpg", b"x")
    return Admin(backend, tmp_path)


@contextmanager
def bastions(count: int, *options: str) -> Iterator[list[SshServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(SshServer(options)) for _ in range(count)]


def works(storage: SshStorage) -> bool:
    with storage:
        return [obj.key for obj in storage.list()] == ["a.jpg"] and storage.read("a.jpg", max_bytes=1) == b"x"


def test_an_alias_is_all_that_the_settings_need(admin: Admin) -> None:
    """Host name, port, user, key and known_hosts come from the config file; the storage is called by the alias."""
    storage = admin.storage("pictures", admin.block("pictures", admin.backend.server))
    assert works(storage)
    assert storage.name.startswith(f"ssh:{admin.backend.username}@pictures:{admin.backend.server.port}/")


def test_settings_win_over_the_config_file(admin: Admin) -> None:
    """Each of them on its own."""
    server = admin.backend.server
    block = f"Host pictures\n HostName {server.host}\n Port 9\n User no-such-user\n IdentityFile {client_key('rsa')}\n"
    block += " UserKnownHostsFile /dev/null\n"
    how = {"port": server.port, "username": admin.backend.username}
    how |= {"private_key": admin.backend.key, "known_hosts": server.known_hosts}
    assert works(admin.storage("pictures", block, **how))
    for name, error in (
        ("port", StorageUnreachable),
        ("username", LoginRefused),
        ("private_key", LoginRefused),
        ("known_hosts", HostKeyUnknown),
    ):
        rest = {key: value for key, value in how.items() if key != name}
        with pytest.raises(error):
            admin.storage("pictures", block, **rest).open()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_server_is_reached_through_jump_hosts(admin: Admin, count: int) -> None:
    """Every hop with its own host key file, user and key; a daemon's many sessions go the same way."""
    with bastions(count) as hops:
        names = [f"hop{number}" for number in range(count)]
        blocks = [admin.block(name, hop, key="ecdsa") for name, hop in zip(names, hops, strict=True)]
        target = admin.block("pictures", admin.backend.server, f"ProxyJump {','.join(names)}")
        storage = admin.storage("pictures", target, *blocks)
        assert works(storage)
        for hop in hops:
            assert "Accepted publickey" in hop.log()
        with storage:
            assert hops[-1].host in connect_detail(storage)
            assert f":{hops[-1].port}" in connect_detail(storage)


def test_a_jump_host_may_need_a_jump_host_itself(admin: Admin) -> None:
    """Its own block says so."""
    with bastions(2) as (outer, inner):
        blocks = [admin.block("outer", outer), admin.block("inner", inner, "ProxyJump outer")]
        assert works(
            admin.storage("pictures", admin.block("pictures", admin.backend.server, "ProxyJump inner"), *blocks)
        )
        assert "Accepted publickey" in outer.log()
        assert "Accepted publickey" in inner.log()


def test_a_jump_host_that_applies_to_every_host_is_reached_directly(admin: Admin) -> None:
    """``Host *`` with a ProxyJump also fits the jump host."""
    with bastions(1) as (hop,):
        blocks = [admin.block("hop", hop), "Host *\n ProxyJump hop\n"]
        assert works(admin.storage("pictures", admin.block("pictures", admin.backend.server), *blocks))


def test_jump_hosts_in_a_circle_are_refused(admin: Admin) -> None:
    """In one line, before anything is connected to."""
    with bastions(2) as (one, other):
        blocks = [admin.block("one", one, "ProxyJump other"), admin.block("other", other, "ProxyJump one")]
        blocks.append(admin.block("pictures", admin.backend.server, "ProxyJump one"))
        with pytest.raises(SettingsError, match="in a circle"):
            admin.storage("pictures", *blocks)


def test_a_jump_host_may_be_written_out(admin: Admin) -> None:
    """User and port beside it, without a block of its own; known_hosts and agent or default keys as usual."""
    with bastions(1) as (hop,):
        hop.authorize("ed25519")
        for jump in (f"root@127.0.0.1:{hop.port}", f"ssh://root@127.0.0.1:{hop.port}"):
            block = admin.block("pictures", admin.backend.server, f"ProxyJump {jump}")
            rest = f"Host 127.0.0.1\n IdentityFile {client_key('ed25519')}\n UserKnownHostsFile {hop.known_hosts}\n"
            if admin.backend.username == "root":
                assert works(admin.storage("pictures", block, rest))


def test_the_host_key_of_each_hop_is_checked(admin: Admin) -> None:
    """An unknown or changed key of the jump host, or of the server behind it, is refused, and its owner named."""
    with bastions(1) as (hop,):
        target = admin.block("pictures", admin.backend.server, "ProxyJump hop")
        with pytest.raises(HostKeyUnknown) as caught:
            admin.storage("pictures", target, admin.block("hop", hop, file="nothing")).open()
        assert f"127.0.0.1:{hop.port}" in caught.value.message
        hidden = admin.block("pictures", admin.backend.server, "ProxyJump hop", file="nothing")
        with pytest.raises(HostKeyUnknown) as caught:
            admin.storage("pictures", hidden, admin.block("hop", hop)).open()
        assert f"127.0.0.1:{admin.backend.server.port}" in caught.value.message
        # ssh-keyscan cannot get there; ssh itself can.
        assert f"ssh -F {admin.path}" in caught.value.hint
        hop.stop()
        hop.new_host_keys(["ed25519"])
        hop.start()
        with pytest.raises(HostKeyChanged):
            admin.storage("pictures", target, admin.block("hop", hop)).open()


def test_a_login_that_a_jump_host_refuses_names_the_jump_host(admin: Admin) -> None:
    """Not the server behind it."""
    with bastions(1) as (hop,):
        block = admin.block("hop", hop).replace(str(client_key("ed25519")), str(client_key("rsa")))
        with pytest.raises(LoginRefused, match=f":{hop.port}"):
            admin.storage("pictures", admin.block("pictures", admin.backend.server, "ProxyJump hop"), block).open()


def test_a_jump_host_that_forwards_nothing_is_named(admin: Admin) -> None:
    """It is a setting of that server, and waiting does not help."""
    with bastions(1, "AllowTcpForwarding no") as (hop,):
        storage = admin.storage(
            "pictures", admin.block("pictures", admin.backend.server, "ProxyJump hop"), admin.block("hop", hop)
        )
        with pytest.raises(StorageError, match="opens no way") as caught:
            storage.open()
        assert type(caught.value) is StorageError
        assert "AllowTcpForwarding" in caught.value.hint


def test_a_server_that_is_down_behind_a_jump_host_is_an_outage(admin: Admin) -> None:
    """And so is a jump host that is down, or goes down; both are found again."""
    with bastions(1) as (hop,):
        blocks = [admin.block("pictures", admin.backend.server, "ProxyJump hop"), admin.block("hop", hop)]
        storage = admin.storage("pictures", *blocks)
        with storage:
            hop.kill_sessions()
            assert storage.read("a.jpg", max_bytes=1) == b"x"
            admin.backend.break_off()
            with pytest.raises(StorageUnreachable, match=f":{admin.backend.server.port}"):
                storage.read("a.jpg", max_bytes=1)
            admin.backend.come_back()
            assert storage.read("a.jpg", max_bytes=1) == b"x"
            hop.stop()
            with pytest.raises(StorageUnreachable, match=f":{hop.port}"):
                storage.read("a.jpg", max_bytes=1)
            hop.start()
            assert storage.read("a.jpg", max_bytes=1) == b"x"


def test_closing_closes_the_connections_to_jump_hosts(admin: Admin) -> None:
    """Also that of a connection whose server went away."""
    with bastions(1) as (hop,):
        blocks = [admin.block("pictures", admin.backend.server, "ProxyJump hop"), admin.block("hop", hop)]
        with admin.storage("pictures", *blocks) as storage:
            (link,) = links(storage)
            tunnel = link.transport.sock
            admin.backend.server.kill_sessions()
            assert storage.read("a.jpg", max_bytes=1) == b"x"
            link.transport.join(30)
            assert not tunnel._transport.is_active()
            (link,) = links(storage)
        assert not link.transport.sock._transport.is_active()


def relay(folder: Path) -> Path:
    """A program that joins its standard streams to an address, as nc does."""
    path = folder / "relay"
    path.write_text(
        "import os, socket, sys, threading\n"
        "line = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def back():\n"
        "    while data := line.recv(65536):\n"
        "        while data: data = data[os.write(1, data):]\n"
        "    os._exit(0)\n"
        "threading.Thread(target=back, daemon=True).start()\n"
        "print('relay to', sys.argv[1:], file=sys.stderr, flush=True)\n"
        "while data := os.read(0, 65536): line.sendall(data)\n"
    )
    return path


def commands_of(word: str) -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if word in command_line(child)]


def command_line(process: psutil.Process) -> str:
    """Empty for one that has ended, or is ending between two looks."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


@pytest.mark.parametrize(
    "line", ["{python} {relay} %h %p", "{python} {relay} %h %p 2>/dev/null", '{python} "{relay}" "%h" %p # %r %n %%']
)
def test_a_proxy_command_stands_in_for_the_connection(admin: Admin, tmp_path: Path, line: str) -> None:
    """Its line goes through a shell as with ssh, %h, %p and %r are filled in, and the program ends with the connection."""
    command = line.format(python=sys.executable, relay=relay(tmp_path))
    storage = admin.storage("pictures", admin.block("pictures", admin.backend.server, f"ProxyCommand {command}"))
    assert works(storage)
    with storage:
        (program,) = commands_of(str(tmp_path / "relay"))
        program.kill()
        program.wait(30)
        assert storage.read("a.jpg", max_bytes=1) == b"x"
        assert connect_detail(storage).endswith("through ProxyCommand")
    assert commands_of(str(tmp_path / "relay")) == []


@pytest.mark.skipif("not __import__('shutil').which('ssh')", reason="needs OpenSSH's client")
def test_ssh_itself_may_be_the_proxy_command(admin: Admin) -> None:
    """The form that was used before ProxyJump."""
    with bastions(1) as (hop,):
        options = f"-i {hop.authorize('ed25519')} -o UserKnownHostsFile={hop.known_hosts} -p {hop.port}"
        command = f"ssh -F none {options} -W %h:%p 127.0.0.1"
        assert works(
            admin.storage("pictures", admin.block("pictures", admin.backend.server, f"ProxyCommand {command}"))
        )


@pytest.mark.parametrize(
    ("command", "said", "kind"),
    [
        ("no-such-program %h", "not found", StorageError),
        ("/etc", "ermission denied", StorageError),
        ("sh -c 'echo the tunnel is closed >&2; exit 3'", "status 3: the tunnel is closed", StorageUnreachable),
        ("true", "status 0", StorageUnreachable),
    ],
)
def test_a_proxy_command_that_fails_is_named_with_its_last_words(
    admin: Admin, command: str, said: str, kind: type[StorageError]
) -> None:
    """In the place of "no answer". A program that is not there is not waited for."""
    storage = admin.storage("pictures", admin.block("pictures", admin.backend.server, f"ProxyCommand {command}"))
    with pytest.raises(StorageError, match=r"The ProxyCommand for .* ended") as caught:
        storage.open()
    assert type(caught.value) is kind
    assert said in caught.value.message


def test_a_host_key_alias_is_the_name_in_known_hosts(admin: Admin) -> None:
    """Without a port, as ssh writes it."""
    server = admin.backend.server
    (line,) = server.known_hosts_lines()
    (server.folder / "by_alias").write_text("the-pictures " + line.split(maxsplit=1)[1])
    block = admin.block("pictures", server, "HostKeyAlias the-pictures", file="by_alias")
    assert works(admin.storage("pictures", block))
    with pytest.raises(HostKeyUnknown):
        admin.storage("pictures", block.replace("HostKeyAlias", "#")).open()


@pytest.mark.skipif("not __import__('shutil').which('ssh')", reason="needs OpenSSH's client")
def test_the_hint_for_a_hidden_server_is_a_command_that_ssh_understands(admin: Admin) -> None:
    """``ssh -G`` reads it and finds the same host."""
    with bastions(1) as (hop,):
        target = admin.block("pictures", admin.backend.server, "ProxyJump hop", file="nothing")
        with pytest.raises(HostKeyUnknown) as caught:
            admin.storage("pictures", target, admin.block("hop", hop)).open()
    command = caught.value.hint.split("run  ")[1].split("  (")[0]
    shown = subprocess.run([*command.split(), "-G"], check=True, capture_output=True, text=True).stdout
    assert f"port {admin.backend.server.port}\n" in shown
    assert "proxyjump hop\n" in shown


def test_a_direct_connection_stays_a_socket_without_delay(admin: Admin) -> None:
    """What is measured of loopback holds with a config file too."""
    with admin.storage("pictures", admin.block("pictures", admin.backend.server)) as storage:
        (link,) = links(storage)
        assert link.transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_the_passphrase_setting_also_unlocks_keys_of_the_config_file() -> None:
    """And without one the message says which file is locked."""
    with open_backend("ssh") as backend:
        backend.put("a.jpg", b"x")
        admin = Admin(backend, backend.server.folder)
        block = admin.block("pictures", backend.server, key="ed25519-locked")
        assert works(admin.storage("pictures", block, passphrase=PASSPHRASE))
        with pytest.raises(StorageError) as caught:
            admin.storage("pictures", block).open()
        assert str(client_key("ed25519-locked")) in str(caught.value)
