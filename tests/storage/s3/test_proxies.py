"""S3 through a proxy that does not work: the variable is named, and the endpoint is not blamed."""

from __future__ import annotations

import pytest
from support.servers.proxying import port_that_refuses, refusing_proxy, set_proxies
from support.storage.scripted_s3 import EMPTY_LISTING, scripted_s3

from lemmy_safety.errors import HostUnknown, LoginRefused, SettingsError, StorageUnreachable
from lemmy_safety.storage.s3.client import connect
from lemmy_safety.storage.s3.errors import translated

PLACE = "bucket 'pictrs' at the server"


def ask(url: str) -> None:
    client = connect(url, login=("key", "secret", None), region="auto", addressing="path", connections=1, attempts=1)
    with translated(PLACE):
        client.list_objects_v2(Bucket="pictrs")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_whose_name_does_not_resolve_is_named(monkeypatch, scheme):
    """The endpoint's name is not even looked up here."""
    variable = f"{scheme.upper()}_PROXY"
    set_proxies(monkeypatch, **{variable: "http://me:secret-word@no-such-proxy.invalid:3128"})
    with pytest.raises(HostUnknown) as caught:
        ask(f"{scheme}://s3.example.invalid")
    said = f"{caught.value} {caught.value.hint}"
    assert f"the host name of the proxy no-such-proxy.invalid:3128 in {variable} does not resolve" in said
    assert "OBJECT_STORAGE_ENDPOINT" not in said
    assert "secret-word" not in said


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_connections_is_named(monkeypatch, scheme):
    """It may be starting, so it is waited for."""
    with port_that_refuses() as port:
        set_proxies(monkeypatch, **{f"{scheme}_proxy": f"127.0.0.1:{port}"})
        with pytest.raises(StorageUnreachable, match=rf"the proxy 127.0.0.1:{port} in {scheme}_proxy refused the c"):
            ask(f"{scheme}://s3.example.invalid")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_login_is_named(monkeypatch, scheme):
    """407 is no answer of an S3 server."""
    with refusing_proxy(407) as port:
        set_proxies(monkeypatch, **{f"{scheme}_proxy": f"http://127.0.0.1:{port}"})
        with pytest.raises(LoginRefused, match=rf"{scheme}_proxy wants a login") as caught:
            ask(f"{scheme}://s3.example.invalid")
        assert "AWS_ACCESS_KEY_ID" not in caught.value.hint


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "forbids connections to this server (403)"), (503, "answered 503 instead of connecting to the server")],
)
def test_a_tunnel_that_the_proxy_refuses_is_its_refusal(monkeypatch, status, said):
    """The server was not asked."""
    with refusing_proxy(status) as port:
        set_proxies(monkeypatch, https_proxy=f"http://127.0.0.1:{port}")
        with pytest.raises(StorageUnreachable) as caught:
            ask("https://s3.example.invalid")
        assert caught.value.message == f"{PLACE}: the proxy 127.0.0.1:{port} in https_proxy {said}."


def test_a_proxy_that_does_not_speak_tls_is_named(monkeypatch):
    """``https://`` before a proxy is for one that speaks TLS itself, which few do."""
    with refusing_proxy(503) as port:
        set_proxies(monkeypatch, https_proxy=f"https://127.0.0.1:{port}")
        with pytest.raises(StorageUnreachable, match=rf"the proxy 127.0.0.1:{port} in https_proxy does not speak TLS"):
            ask("https://s3.example.invalid")


@pytest.mark.parametrize(
    "value",
    [
        "socks5://127.0.0.1:1080", "socks://127.0.0.1", "ftp://a", "http://[", "http://a:99999", "http://a:port",
        "http:/127.0.0.1:3128", '"http://127.0.0.1:3128"', "http://127.0.0.1:3128\n",
    ],
)  # fmt: skip
def test_a_proxy_that_cannot_be_used_is_named_before_anything_is_sent(monkeypatch, value):
    """It is a fault of the settings. boto3 speaks no SOCKS, and takes ``socks5`` for the host of an HTTP proxy."""
    set_proxies(monkeypatch, HTTP_PROXY=value)
    with pytest.raises(SettingsError, match=r"^HTTP_PROXY ") as caught:
        ask("http://s3.example.invalid")
    assert "NO_PROXY" in caught.value.hint


@pytest.mark.parametrize("exceptions", ["localhost,[::1],127.0.0.1", "127.0.0.0/8,fd00::/8", "*"])
def test_exceptions_are_asked_directly(monkeypatch, exceptions):
    """IPv6 among them does not matter."""
    with scripted_s3(lambda request: request.send(200, EMPTY_LISTING)) as server, port_that_refuses() as port:
        set_proxies(monkeypatch, HTTP_PROXY=f"http://127.0.0.1:{port}", NO_PROXY=exceptions)
        ask(f"http://127.0.0.1:{server.server_address[1]}")
        assert len(server.seen) == 1
