"""A tunnel to a service that only the SSH server can reach, on a real sshd."""

from __future__ import annotations

import logging
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest
from support.servers.base import free_port
from support.servers.sshd import SshBackend, SshServer, open_backend

from lemmy_safety.errors import HostKeyUnknown, PictrsNotForwarded, PictrsUnreachable
from lemmy_safety.storage.ssh import SshTunnel, link, own_port, read_ssh_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.external_service


class Echo:
    """Sends back what it gets. ``taken``: how many connections it had; ``mute``: it answers nothing."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = ("127.0.0.1", self._listener.getsockname()[1])
        self.taken = 0
        self.mute = False
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.taken += 1
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            while piece := connection.recv(65_536):
                if not self.mute:
                    connection.sendall(piece)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    with closing(Echo()) as service:
        yield service


@contextmanager
def connected(tunnel: SshTunnel) -> Iterator[socket.socket]:
    tunnel.ready()
    with socket.create_connection(("127.0.0.1", tunnel.port), timeout=20) as client:
        yield client


def all_of(client: socket.socket) -> bytes:
    """What comes until the other side ends."""
    data = bytearray()
    while piece := client.recv(65_536):
        data += piece
    return bytes(data)


def asked(tunnel: SshTunnel) -> bytes:
    with connected(tunnel) as client:
        client.sendall(b"ping")
        client.shutdown(socket.SHUT_WR)
        return all_of(client)


def test_bytes_arrive_in_both_directions_and_so_do_ends(backend: SshBackend, echo: Echo) -> None:
    """More than the windows of SSH and the buffers of both sockets hold, and no byte is lost at an end."""
    data = random.Random(7).randbytes(20_000_000)
    with closing(backend.tunnel(echo.address)) as tunnel, connected(tunnel) as client:
        sender = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)))
        sender.start()
        assert all_of(client) == data
        sender.join(20)
        assert tunnel.failure() is None


def test_a_broken_connection_is_made_again(backend: SshBackend, echo: Echo) -> None:
    """The client of that moment notices, and the next one does not."""
    with closing(backend.tunnel(echo.address)) as tunnel:
        for _ in range(3):
            with connected(tunnel) as client:
                client.sendall(b"ping")
                assert client.recv(4) == b"ping"
                backend.server.kill_sessions()
                assert all_of(client) == b""
        assert asked(tunnel) == b"ping"


def test_jump_hosts_and_aliases_of_the_config_file_count(backend: SshBackend, echo: Echo, tmp_path: Path) -> None:
    """As for a storage."""
    with SshServer() as bastion:
        blocks = [
            f"Host {name}\n HostName {server.host}\n Port {server.port}\n User {backend.username}\n"
            f" IdentityFile {server.authorize('ed25519')}\n UserKnownHostsFile {server.known_hosts}\n {more}\n"
            for name, server, more in (("pictures", backend.server, "ProxyJump bastion"), ("bastion", bastion, ""))
        ]
        (tmp_path / "config").write_text("".join(blocks))
        tunnel = SshTunnel(
            "pictures",
            None,
            None,
            private_key=None,
            passphrase=None,
            known_hosts=None,
            config=read_ssh_config(tmp_path / "config"),
            ask_passphrase=None,
            target=echo.address,
            what="the service",
        )
        with closing(tunnel):
            assert asked(tunnel) == b"ping"
            assert "Accepted publickey" in bastion.log()
            bastion.kill_sessions()
            backend.server.kill_sessions()
            assert asked(tunnel) == b"ping"


def test_several_connections_at_a_time_use_one_login(backend: SshBackend, echo: Echo) -> None:
    with closing(backend.tunnel(echo.address)) as tunnel:
        with connected(tunnel) as one, connected(tunnel) as two:
            for client in (two, one):
                client.sendall(b"ping")
                assert client.recv(4) == b"ping"
        assert backend.server.log().count("Accepted publickey") == 1


def test_a_connection_of_another_program_is_refused(
    backend: SshBackend, echo: Echo, caplog: pytest.LogCaptureFixture
) -> None:
    """By another process of the same account even: the service never hears of it."""
    stranger = (
        "import socket, sys\n"
        "client = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=20)\n"
        "try:\n"
        "    client.sendall(b'ping')\n"
        "    print(client.recv(100))\n"
        "except ConnectionError:\n"
        "    print(b'')\n"
    )
    with closing(backend.tunnel(echo.address)) as tunnel:
        assert asked(tunnel) == b"ping"
        with caplog.at_level(logging.WARNING):
            run = [sys.executable, "-c", stranger, str(tunnel.port)]
            for _ in range(2):
                said = subprocess.run(run, capture_output=True, text=True, timeout=30, check=True)
                assert said.stdout == "b''\n"
        assert caplog.text.count("it is of another program") == 1
        assert echo.taken == 1
        assert asked(tunnel) == b"ping"


def test_a_connection_whose_process_cannot_be_told_is_refused(
    backend: SshBackend, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden(*_: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(own_port.psutil.Process, "net_connections", hidden)
    with closing(backend.tunnel(echo.address)) as tunnel, connected(tunnel) as client:
        assert all_of(client) == b""
        assert echo.taken == 0


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        (["AllowTcpForwarding no"], PictrsNotForwarded, "PermitOpen {address} (written exactly so)"),
        (["PermitOpen 127.0.0.1:1"], PictrsNotForwarded, "AllowTcpForwarding local"),
        (["PermitOpen localhost:{port}"], PictrsNotForwarded, "PermitOpen {address}"),
        (["DisableForwarding yes"], PictrsNotForwarded, "AllowTcpForwarding local"),
        ([], PictrsUnreachable, "as seen from the SSH server"),
    ],
)
def test_why_there_is_no_way_is_told_with_its_fix(options: list[str], kind: type, words: str) -> None:
    """The server forbids it, or nothing listens there."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    with open_backend("ssh", [line.format(port=port) for line in options]) as backend:
        with closing(backend.tunnel(("127.0.0.1", port))) as tunnel:
            assert asked(tunnel) == b""
            failure = tunnel.failure()
        assert type(failure) is kind
        assert failure.message.startswith(f"the service cannot be reached: the SSH server {backend.username}@127.0.0.1")
        assert address in failure.message
        assert words.format(address=address) in failure.hint


def test_an_earlier_failure_is_forgotten(backend: SshBackend, echo: Echo) -> None:
    with closing(backend.tunnel(echo.address)) as tunnel:
        backend.server.stop()
        backend.server.prepend(["AllowTcpForwarding no"])
        backend.server.start()
        assert asked(tunnel) == b""
        assert isinstance(tunnel.failure(), PictrsNotForwarded)
        backend.server.stop()
        backend.server.prepend([])
        backend.server.start()
        assert asked(tunnel) == b"ping"
        assert tunnel.failure() is None


def test_a_login_that_fails_is_told_before_any_client_connects(backend: SshBackend, echo: Echo) -> None:
    """As for a storage; only an outage becomes one of pict-rs."""
    with closing(backend.tunnel(echo.address)) as tunnel:
        backend.server.stop()
        with pytest.raises(PictrsUnreachable, match="the service cannot be reached: the SSH connection"):
            tunnel.ready()
        backend.server.start()
        backend.server.known_hosts.write_text("")
    with closing(backend.tunnel(echo.address)) as tunnel, pytest.raises(HostKeyUnknown):
        tunnel.ready()


def test_a_server_that_falls_silent_is_given_up(
    backend: SshBackend, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that takes long for its answer is waited for; a server that does not even refuse a session is not."""
    monkeypatch.setattr(link, "CHANNEL_TIMEOUT_S", 0.3)
    echo.mute = True
    with closing(backend.tunnel(echo.address)) as tunnel, connected(tunnel) as client:
        client.sendall(b"ping")
        client.settimeout(2)  # several times that limit
        with pytest.raises(TimeoutError):
            client.recv(4)
        client.settimeout(20)
        sessions = backend.server.sessions()
        for process in sessions:
            process.send_signal(signal.SIGSTOP)
        assert all_of(client) == b""
        backend.server.kill_sessions()
        echo.mute = False
        monkeypatch.undo()
        assert asked(tunnel) == b"ping"


def test_a_closed_tunnel_ends_its_clients_and_its_port(backend: SshBackend, echo: Echo) -> None:
    """At once, also while the SSH server is silent."""
    tunnel = backend.tunnel(echo.address)
    with connected(tunnel) as client:
        client.sendall(b"ping")
        assert client.recv(4) == b"ping"
        port = tunnel.port
        for process in backend.server.sessions():
            process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        tunnel.close()
        tunnel.close()
        assert all_of(client) == b""
        assert time.monotonic() - began < 4
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    with pytest.raises(PictrsUnreachable, match="was closed"):
        tunnel.ready()
