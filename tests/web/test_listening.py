"""Where the hook listens: one address, several, a name with several, and every address of both families."""

from __future__ import annotations

import contextlib
import socket

import pytest
from support.servers.base import free_port

from lemmy_safety.errors import SettingsError
from lemmy_safety.web.listening import hosts_in, listeners

V4, V6 = "127.0.0.1", "::1"


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server((V6, 0), family=socket.AF_INET6):
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def answers(host: str, port: int, sockets: list[socket.socket]) -> bool:
    """Whether one of the sockets takes a connection to this address."""
    try:
        with socket.create_connection((host, port), timeout=5):
            for listener in sockets:
                listener.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    listener.accept()[0].close()
                    return True
    except OSError:
        return False
    return False


@pytest.mark.parametrize(
    ("text", "reached"),
    [
        ("127.0.0.1", {V4}),
        pytest.param("::1", {V6}, marks=needs_ipv6),
        pytest.param("[::1]", {V6}, marks=needs_ipv6),
        pytest.param("::", {V4, V6}, marks=needs_ipv6),
        pytest.param("[::]", {V4, V6}, marks=needs_ipv6),
        pytest.param("0:0:0:0:0:0:0:0", {V4, V6}, marks=needs_ipv6),
        pytest.param("::,0.0.0.0", {V4, V6}, marks=needs_ipv6),
        pytest.param("0.0.0.0, ::", {V4, V6}, marks=needs_ipv6),
        pytest.param("127.0.0.1,::1", {V4, V6}, marks=needs_ipv6),
        ("0.0.0.0", {V4}),  # noqa: S104 - what is tested
        ("127.0.0.1,127.0.0.1, ", {V4}),
        (
            "localhost,127.0.0.1",
            {V4, *({V6} if has_ipv6() and "::1" in str(socket.getaddrinfo("localhost", 1)) else ())},
        ),
    ],
)
def test_every_named_address_is_listened_on_and_no_other(text, reached):
    """``::`` means both families, as it does for most servers, also where the system's default is IPv6 alone."""
    port = free_port()
    with listeners(hosts_in(text), port) as sockets:
        assert {host for host in (V4, V6) if answers(host, port, sockets)} == reached


@needs_ipv6
def test_a_system_that_cannot_take_both_families_on_one_socket_says_so(monkeypatch, caplog):
    """OpenBSD, for one: the system's answer is given here."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    port = free_port()
    with listeners(["::"], port) as sockets:
        assert not answers(V4, port, sockets)
        assert answers(V6, port, sockets)
    assert "HOOK_HOST=::,0.0.0.0 takes both" in caplog.text


@pytest.mark.parametrize("text", ["192.0.2.1", "127.0.0.1,192.0.2.1", "2001:db8::1", "no-such-host.invalid"])
def test_an_address_that_this_machine_does_not_have_is_refused(text):
    """Also beside one that it has; what was opened is closed again."""
    port = free_port()
    where = rf"Cannot listen on {text.rpartition(',')[2]} port {port}"
    with pytest.raises(SettingsError, match=where), listeners(hosts_in(text), port):
        pass
    socket.create_server((V4, port)).close()


@pytest.mark.parametrize("text", ["no-such-host.invalid", "127.0.0.1:80", "127.0.0.1,no host", "300.1.2.3"])
def test_a_name_that_stands_for_no_address_is_not_blamed_on_the_port(text):
    """No other port would help."""
    with pytest.raises(SettingsError) as caught, listeners(hosts_in(text), free_port()):
        pass
    assert "another port" not in caught.value.hint
    assert "HOOK_HOST" in caught.value.hint


@pytest.mark.parametrize("text", ["", " ", ",", " , "])
def test_no_address_at_all_is_refused(text):
    """An empty text would mean every address to the system."""
    with pytest.raises(SettingsError, match="names no address"):
        hosts_in(text)


def test_a_taken_port_is_refused():
    """With what to do about it."""
    with (
        socket.create_server((V4, 0)) as taken,
        pytest.raises(SettingsError, match=r"Cannot listen on 127\.0\.0\.1") as caught,
        listeners([V4], taken.getsockname()[1]),
    ):
        pass
    assert "Choose another port" in caught.value.hint
