"""Whether weights could be fetched at all, and what is in the way: the network, or the proxy that a variable names."""

from __future__ import annotations

import pytest
from support.servers.proxying import port_that_refuses, refusing_proxy, set_proxies

from lemmy_safety.detectors.clip.weights.network import why_unreachable
from lemmy_safety.errors import SettingsError

HUB = "https://hub.example.invalid/weights"


@pytest.mark.parametrize("value", ["http:/127.0.0.1:3128", '"http://127.0.0.1:3128"', "http://127.0.0.1:3128\n"])
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "all_proxy"])
def test_a_variable_that_names_no_proxy_is_a_fault_of_the_settings(monkeypatch, variable, value):
    """urllib raises ValueError or InvalidURL there, which would look like a fault of the program."""
    set_proxies(monkeypatch, **{variable: value})
    with pytest.raises(SettingsError, match=rf"^{variable} is not the URL of a proxy"):
        why_unreachable(HUB)


def test_a_proxy_that_refuses_is_named(monkeypatch):
    """The connection to it, or the tunnel that it is asked for."""
    with port_that_refuses() as port:
        set_proxies(monkeypatch, https_proxy=f"http://127.0.0.1:{port}")
        assert why_unreachable(HUB) == f"the proxy 127.0.0.1:{port} in https_proxy refused the connection"
    with refusing_proxy(407) as port:
        set_proxies(monkeypatch, HTTPS_PROXY=f"http://127.0.0.1:{port}")
        assert why_unreachable(HUB) == f"the proxy 127.0.0.1:{port} in HTTPS_PROXY wants a login (407)"


def test_without_a_proxy_the_network_is_named(monkeypatch):
    """As the system says it."""
    set_proxies(monkeypatch)
    with port_that_refuses() as port:
        assert "refused" in why_unreachable(f"http://127.0.0.1:{port}/")
