"""A worker behind a proxy: what variables say is followed, and their faults are told by their names."""

from __future__ import annotations

import asyncio
import sys

import pytest
from support.servers.proxying import port_that_refuses, refusing_proxy, set_proxies
from support.web.pictrs_safety import KEY
from support.web.relay import running_relay

from lemmy_safety.errors import SettingsError
from lemmy_safety.outgoing import ServerTrouble
from lemmy_safety.relay.worker.client import WorkerClient
from lemmy_safety.uploads.bodies import BodyLimits, BodyReader

SERVER = "http://relay.example.invalid:14051"


def asked(url: str, key: str = KEY) -> object:
    """What a worker gets to its first question."""

    async def ask() -> object:
        reader = BodyReader(BodyLimits(max_bytes=1000, memory_bytes=1000, timeout_s=5), reclaim=lambda _bytes: None)
        async with WorkerClient(url=url, key=key, worker="w", rules="r", reader=reader) as client:
            return await client.pop(wait_s=0.0)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    "exceptions", ["localhost,127.0.0.1,[::1]", "::1/128,127.0.0.0/8", "fd00::/8,127.0.0.1", "[::1]:8080,127.0.0.1"]
)
def test_ipv6_among_the_exceptions_is_no_fault(tmp_path, monkeypatch, exceptions):
    """The relay is asked directly, as they say."""
    with running_relay(tmp_path) as relay, port_that_refuses() as port:
        set_proxies(monkeypatch, NO_PROXY=exceptions, ALL_PROXY=f"http://127.0.0.1:{port}")
        assert asked(relay.url) is None


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1080", "ALL_PROXY names a SOCKS proxy"),
        ("http_proxy", "socks5h://127.0.0.1:1080", "http_proxy names a SOCKS proxy"),
        ("all_proxy", "socks://127.0.0.1:1080/", "all_proxy is not the URL of a proxy: socks:// is not a scheme"),
        ("HTTP_PROXY", "ftp://127.0.0.1", "HTTP_PROXY is not the URL of a proxy: ftp:// is not a scheme"),
        ("http_proxy", "http:/127.0.0.1:3128", "http_proxy is not the URL of a proxy: there is no :// after http"),
        ("HTTP_PROXY", "http://[", "HTTP_PROXY is not the URL of a proxy"),
        ("HTTP_PROXY", "http://proxy:port", "HTTP_PROXY is not the URL of a proxy"),
        ("HTTP_PROXY", "http://me:secret-word@proxy:99999", "HTTP_PROXY is not the URL of a proxy"),
        ("HTTP_PROXY", "socks4://127.0.0.1", "HTTP_PROXY does not name a proxy of a kind that can be used"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_told_by_its_variable(monkeypatch, variable, value, said):
    """At the start, in one line, without a password."""
    monkeypatch.setitem(sys.modules, "socksio", None)
    set_proxies(monkeypatch, **{variable: value})
    with pytest.raises(SettingsError) as caught:
        asked(SERVER)
    assert str(caught.value).startswith(said)
    assert "secret-word" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("missing", ["no-such-file", "garbage"])
def test_certificates_that_cannot_be_read_are_told_by_their_variable(tmp_path, monkeypatch, missing):
    """httpx loads them when it is set up, also for addresses without TLS."""
    set_proxies(monkeypatch)
    (tmp_path / "garbage").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / missing))
    with pytest.raises(SettingsError, match="SSL_CERT_FILE"):
        asked(SERVER)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_away_is_not_taken_for_the_relay(monkeypatch, scheme):
    """Its name does not resolve, or nothing listens there."""
    variable = f"{scheme.upper()}_PROXY"
    with port_that_refuses() as port:
        for place in ("no-such-proxy.invalid:3128", f"127.0.0.1:{port}"):
            set_proxies(monkeypatch, **{variable: f"http://me:secret-word@{place}"})
            with pytest.raises(ServerTrouble) as caught:
                asked(f"{scheme}://relay.example.invalid")
            named = f"the proxy {place} in {variable}"
            said = (
                f"the host name of {named} does not resolve"
                if "invalid" in place
                else f"{named} refused the connection"
            )
            assert str(caught.value) == said
            assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_login_is_a_fault_of_the_settings(monkeypatch, scheme):
    """407, whether the proxy answers in the place of the server or refuses the tunnel."""
    variable = f"{scheme.upper()}_PROXY"
    with refusing_proxy(407) as port:
        set_proxies(monkeypatch, **{variable: f"127.0.0.1:{port}"})
        with pytest.raises(SettingsError, match=rf"The proxy 127.0.0.1:{port} in {variable} wants a login") as caught:
            asked(f"{scheme}://relay.example.invalid")
        assert "name:password@host:port" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "forbids connections to this server (403)"), (503, "answered 503 instead of connecting to the server")],
)
def test_a_tunnel_that_the_proxy_refuses_is_its_refusal(monkeypatch, status, said):
    """It may be passing, so it is tried again."""
    with refusing_proxy(status) as port:
        set_proxies(monkeypatch, https_proxy=f"http://127.0.0.1:{port}")
        with pytest.raises(ServerTrouble) as caught:
            asked("https://relay.example.invalid")
        assert str(caught.value) == f"the proxy 127.0.0.1:{port} in https_proxy {said}"


def test_without_tls_a_403_may_be_the_proxys(monkeypatch):
    """The key is not the only thing that can be wrong then."""
    with refusing_proxy(403) as port:
        set_proxies(monkeypatch, http_proxy=f"http://127.0.0.1:{port}")
        with pytest.raises(SettingsError) as caught:
            asked(SERVER)
        assert "PICTRS_SAFETY_APIKEY" in caught.value.message
        assert f"Or the proxy 127.0.0.1:{port} in http_proxy forbids connections" in caught.value.hint


def test_a_relay_that_refuses_the_key_is_not_taken_for_the_proxy(tmp_path, monkeypatch):
    """It is asked directly; nothing else is named than the key."""
    with running_relay(tmp_path) as relay:
        set_proxies(monkeypatch)
        with pytest.raises(SettingsError) as caught:
            asked(relay.url, key="another key than the relay's")
        assert "PICTRS_SAFETY_APIKEY" in caught.value.message
        assert "proxy" not in caught.value.hint
