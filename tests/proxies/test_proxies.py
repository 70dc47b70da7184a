"""Which proxy a request goes through: the variables, their exceptions, and what is not the URL of a proxy."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.servers.proxying import set_proxies

from lemmy_safety.errors import SettingsError
from lemmy_safety.proxies import Proxy, proxy_for, variables_that_name

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("listed", "url", "direct"),
    [
        ("localhost,[::1]", "http://[::1]:14051", True),
        ("localhost,[::1]", "http://localhost", True),
        ("localhost,[::1]", "http://[::2]", False),
        ("::1", "http://[::1]", True),
        ("[::1]:14051", "http://[::1]:14051", True),
        ("[::1]:14051", "http://[::1]:80", False),
        ("fd00::/8", "http://[fd12::1]", True),
        ("[fd00::]/8", "http://[fd12::1]", True),
        ("fd00::/8", "http://[fe80::1]", False),
        ("10.0.0.0/8, 192.0.2.7", "http://10.1.2.3", True),
        ("10.0.0.0/8, 192.0.2.7", "http://192.0.2.7:8080", True),
        ("10.0.0.0/8", "http://[::1]", False),
        ("10.0.0.0/8", "http://ten.example", False),
        ("example.org", "http://relay.example.org", True),
        (".example.org", "http://relay.example.org", True),
        ("*.example.org", "http://relay.example.org", True),
        ("example.org", "http://notexample.org", False),
        ("relay.example.org:8080", "http://relay.example.org:8080", True),
        ("*", "http://anything.example", True),
        ("", "http://anything.example", False),
        (" , ,", "http://anything.example", False),
        ("nonsense/99,[", "http://[::1]", False),
    ],
)
def test_no_proxy_lists_hosts_domains_addresses_and_networks(monkeypatch, listed, url, direct):
    """Also IPv6, with brackets, with ports, and with nonsense beside it."""
    set_proxies(monkeypatch, HTTP_PROXY=PROXY, NO_PROXY=listed)
    assert (proxy_for(url) is None) is direct


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(address=st.ip_addresses(), length=st.integers(0, 128), listed=st.lists(st.text("[]:/.*,%x0 1fa-", max_size=12)))
def test_any_address_is_in_its_own_networks_whatever_else_is_listed(monkeypatch, address, length, listed):
    """Nothing that stands beside it makes the reading fail."""
    network = ipaddress.ip_network(f"{address}/{min(length, address.max_prefixlen)}", strict=False)
    set_proxies(monkeypatch, http_proxy=PROXY, no_proxy=",".join([*listed, str(network)]))
    host = f"[{address}]" if address.version == 6 else str(address)
    assert proxy_for(f"http://{host}:8080") is None


@pytest.mark.parametrize(
    ("given", "url", "variable"),
    [
        ({"HTTPS_PROXY": PROXY}, "https://a.example", "HTTPS_PROXY"),
        ({"https_proxy": PROXY}, "https://a.example", "https_proxy"),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "other:1"}, "https://a.example", "https_proxy"),
        ({"all_proxy": PROXY}, "https://a.example", "all_proxy"),
        ({"HTTP_PROXY": PROXY}, "https://a.example", None),
        ({"ALL_PROXY": PROXY}, "https://a.example", "ALL_PROXY"),
        ({"all_proxy": PROXY, "HTTP_PROXY": "other:1"}, "http://a.example", "HTTP_PROXY"),
        ({}, "http://a.example", None),
        ({"HTTP_PROXY": " "}, "http://a.example", None),
    ],
)
def test_the_variable_of_the_scheme_goes_before_the_one_for_all(monkeypatch, given, url, variable):
    """It is named as it is written, in small letters or capitals; a message that names another one misleads."""
    set_proxies(monkeypatch, **given)
    proxy = proxy_for(url)
    assert (proxy and proxy.variable) == variable
    assert proxy is None or variables_that_name(proxy.url) == variable


@pytest.mark.parametrize(("exempt", "named"), [("no_proxy", "no_proxy"), ("NO_PROXY", "NO_PROXY"), (None, "NO_PROXY")])
def test_the_hint_names_the_list_of_exceptions_that_counts(monkeypatch, exempt, named):
    """Beside a ``no_proxy`` in small letters nothing that is added to ``NO_PROXY`` would have an effect."""
    set_proxies(monkeypatch, http_proxy=PROXY, **({exempt: "b.example"} if exempt else {}))
    proxy = proxy_for("http://a.example")
    assert proxy.hint == f"Correct or unset http_proxy, or add the server to {named}."
    assert proxy.login_hint.endswith(f"in http_proxy, or add the server to {named}.")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("http:/127.0.0.1:3128", "no :// after http"),
        ("http:127.0.0.1:3128", "no :// after http"),
        ("http:3128", "no :// after http"),
        ("HTTPS//proxy.example", "no :// after HTTPS"),
        ('"http://127.0.0.1:3128"', "quotation marks"),
        ("'127.0.0.1:3128'", "quotation marks"),
        ("\u201chttp://127.0.0.1\u201d", "quotation marks"),
        ("http://127.0.0.1:3128\n", "line break"),
        (" http://127.0.0.1:3128", "blank"),
        ("http://a b", "blank"),
        ("http://a\u202eb", "invisible character"),
        ("socks://127.0.0.1:1080/", "socks:// is not a scheme"),
        ("ftp://127.0.0.1:1080", "ftp:// is not a scheme"),
        ("://127.0.0.1", "what is before :// is not a scheme"),
        ("http://", "no host"),
        ("http://:3128", "no host"),
        ("http://me@:3128", "no host"),
        ("3128", "no host"),
        ("http://[", "host is not a name or an address"),
        ("http://[::g]:1", "host is not a name or an address"),
        ("http://a,b", "host is not a name or an address"),
        ("http://a:99999", "port"),
        ("http://a:0", "port"),
        ("http://a:x", "port"),
        ("a:-1", "port"),
        ("http://a:1/proxy.pac", "something follows"),
        ("http://a?b", "something follows"),
        ("http://http://a:1", "something follows"),
    ],
)
@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
def test_what_cannot_be_the_url_of_a_proxy_is_said_with_its_variable(monkeypatch, value, why, variable):
    """Before a library takes a part of it for a host, or it for a fault of the server."""
    set_proxies(monkeypatch, **{variable: value})
    with pytest.raises(SettingsError) as caught:
        proxy_for("http://a.example")
    assert caught.value.message.startswith(f"{variable} is not the URL of a proxy: ")
    assert why in caught.value.message
    assert "\n" not in caught.value.message
    assert "http://host:port" in caught.value.hint


@pytest.mark.parametrize(
    "value",
    [
        "proxy", "proxy:3128", "127.0.0.1:3128", "http://127.0.0.1:3128/", "HTTP://Proxy.Example", "https://p:1",
        "socks5h://me:word@127.0.0.1", "http://[::1]:3128", "http://[fe80::1%eth0]:3128", "squid_1:3128", "http://b\u00fcro.example",
        "http://me:p@ss@a:1",
    ],
)  # fmt: skip
def test_what_works_elsewhere_works_here(monkeypatch, value):
    """With and without a scheme, a login, a port; names of containers and of other scripts; IPv6."""
    set_proxies(monkeypatch, http_proxy=value)
    assert proxy_for("http://a.example").url == (value if "://" in value else f"http://{value}")


@pytest.mark.parametrize(
    "value", ["http://me:secret/word@a:1", "http://me:1/secret@a", "me:secret@http://a", '"me:secret@a"']
)
def test_nothing_of_a_password_is_said_of_what_is_not_a_proxy(monkeypatch, value):
    """A password whose signs are not encoded is what makes many a URL wrong; the fix says how to write them."""
    set_proxies(monkeypatch, http_proxy=value)
    with pytest.raises(SettingsError) as caught:
        proxy_for("http://a.example")
    assert "secret" not in str(caught.value)
    assert "%2F for /" in caught.value.hint


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_text_is_a_proxy_with_a_host_or_one_line_that_names_the_variable(monkeypatch, text):
    """Nothing else is raised, and no fault gets past the check."""
    set_proxies(monkeypatch, http_proxy=text)
    said, proxy = "", None
    try:
        proxy = proxy_for("http://a.example")
    except SettingsError as error:
        said = error.message
    if proxy is None:
        assert text.isspace() or (said.startswith("http_proxy is not the URL of a proxy: ") and said.isprintable())
    else:
        assert urlsplit(proxy.url).hostname
        assert proxy.shown.isprintable()


def test_a_password_is_not_shown():
    """Whatever characters it has."""
    assert Proxy("HTTP_PROXY", "http://me:p@ss//w@proxy.example:3128/").shown == "proxy.example:3128"
