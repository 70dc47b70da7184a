"""What PICTRS_URL can lead to instead of pict-rs: each gives one line in plain words, without the library's own."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support.servers.base import free_port
from support.servers.imitated_pictrs import KEY, imitated_pictrs
from support.servers.postgres import missing_postgres, postgres_server
from support.servers.sshd import SshServer

from lemmy_safety.errors import PictrsUnreachable
from lemmy_safety.pictrs.api import requests
from lemmy_safety.pictrs.api.client import PictrsApi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Of a library, of Python, or doubled.
_NOT_OUR_WORDS = re.compile(r"Error|errno|_ssl|\[|\.\.", re.IGNORECASE)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_PAUSES_S", ())


def said_of(url: str) -> str:
    with PictrsApi(url=url, key=KEY) as api, pytest.raises(PictrsUnreachable) as caught:
        api.check()
    begin = f"pict-rs at {url} cannot be reached: "
    assert caught.value.message.startswith(begin)
    assert not _NOT_OUR_WORDS.search(caught.value.message)
    return caught.value.message.removeprefix(begin)


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port; each connection is answered and closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_a_host_name_that_does_not_resolve_and_a_port_where_nothing_listens():
    assert said_of("http://no-such-host.invalid:8080") == "its host name does not resolve."
    assert said_of(f"http://127.0.0.1:{free_port()}") == "it refused the connection, or nothing listens there."


def test_an_address_with_tls_that_speaks_none():
    with imitated_pictrs() as server:
        assert "does not speak TLS; try http://" in said_of(server.url.replace("http:", "https:"))


def test_a_server_that_speaks_only_tls_and_agrees_on_nothing():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # it has no certificate

    def answer(connection: socket.socket) -> None:
        with contextlib.suppress(ssl.SSLError):
            context.wrap_socket(connection, server_side=True).close()

    with answering(answer) as port:
        assert said_of(f"https://127.0.0.1:{port}").startswith("TLS failed (")
        assert "another service listens there" in said_of(f"http://127.0.0.1:{port}")


def test_a_port_that_wants_tls_and_says_so():
    """Scripted: the alert (RFC 8446, section 6) that most TLS libraries send to what is no TLS."""

    def answer(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")

    with answering(answer) as port:
        assert "it may want https://" in said_of(f"http://127.0.0.1:{port}")


@pytest.mark.external_service
def test_another_server_at_that_port():
    """SSH speaks first, PostgreSQL answers in its own way."""
    with SshServer() as server:
        assert "another service listens there" in said_of(f"http://127.0.0.1:{server.port}")
    if missing := missing_postgres():
        pytest.skip(missing)
    with postgres_server() as base:
        assert "another service listens there" in said_of(f"http://{base.rpartition('@')[2]}")


def test_an_answer_that_is_cut_off_and_a_connection_that_is():
    def body(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")

    with answering(body) as port:
        assert said_of(f"http://127.0.0.1:{port}") == "its answer ended too early."
    with answering(socket.socket.close) as port:
        assert "it closed the connection" in said_of(f"http://127.0.0.1:{port}")
