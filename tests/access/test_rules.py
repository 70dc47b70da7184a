"""Who is let in: secrets, networks, proxies, as rules."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lemmy_safety.access.addresses import is_loopback, parse_address
from lemmy_safety.access.rules import Access, Refusal
from lemmy_safety.errors import SettingsError

SECRET = "an-example-of-a-secret"

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


def test_public_address_needs_a_secret():
    """Listening where others can reach it is refused without a secret."""
    with pytest.raises(SettingsError, match="without a secret") as caught:
        Access().check_bind("0.0.0.0")  # noqa: S104
    assert "Set HOOK_SECRET, or HOOK_HOST=127.0.0.1." in caught.value.hint
    Access(secrets=[SECRET]).check_bind("0.0.0.0")  # noqa: S104
    for host in ("127.0.0.1", "127.8.9.10", "::1", "localhost"):
        Access().check_bind(host)


@given(short=st.from_regex(r"~[A-Za-z0-9._~-]{0,14}", fullmatch=True))
@example(short="~")
@example(short=SECRET[:15])
def test_secret_that_can_be_guessed_is_refused_wherever_the_hook_listens(short):
    """Also the second of two, and also on 127.0.0.1. It is not shown."""
    for secrets in ([short], [SECRET, short]):
        with pytest.raises(SettingsError, match="shorter than 16 characters") as caught:
            Access(secrets=secrets)
        assert short not in f"{caught.value} {caught.value.hint}"
    Access(secrets=[SECRET[:16]])


def test_name_that_does_not_resolve_is_not_loopback():
    """A host name counts as reachable from outside unless all its addresses are loopback."""
    assert not is_loopback("no-such-host.invalid")


@pytest.mark.parametrize("secret", ["", "with space", "slash/in/it", "ümlaut", "percent%20", "new\nline"])
def test_secret_has_to_fit_into_a_url(secret):
    """A secret that a path or header would change is refused at the start, without being shown."""
    with pytest.raises(SettingsError, match="URL") as caught:
        Access(secrets=[secret])
    assert not secret or secret not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "hint"), [("10.0.0.5/8", "10.0.0.0/8"), ("10", "Write it as"), ("fe80::/129", "Write"), ("x", "Write")]
)
def test_what_is_no_network_is_named(text, hint):
    """A faulty network is an error with its text and the way to write it, never a prefix that matches something."""
    with pytest.raises(SettingsError) as caught:
        Access(networks=[text])
    assert repr(text) in caught.value.message
    assert hint in caught.value.hint


@given(ADDRESSES, ADDRESSES)
def test_networks_are_compared_as_networks(inside, other):
    """An address is in its own network of one, and another address is not, however alike their texts are."""
    access = Access(networks=[str(inside)])
    assert access.refusal(inside, []) is None
    if other != inside:
        assert access.refusal(other, []) is Refusal.NETWORK


def test_ancestors_prefix_mistakes_are_not_made():
    """Public addresses that begin like private ones are refused, and all of 172.16.0.0/12 is let in."""
    access = Access(networks=["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"])
    for public in ("100.64.0.1", "101.1.1.1", "109.9.9.9", "172.15.0.1", "172.32.0.1", "192.169.0.1"):
        assert access.refusal(ipaddress.ip_address(public), []) is Refusal.NETWORK
    for private in ("10.255.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"):
        assert access.refusal(ipaddress.ip_address(private), []) is None


@given(ADDRESSES)
def test_addresses_are_read_in_all_their_spellings(address):
    """With port, brackets, zone, spaces or as IPv4 inside IPv6, it is the same address."""
    mapped = getattr(address, "ipv4_mapped", None)
    expected = mapped or address
    spellings = [f" {address} ", f"[{address}]:443"]
    if address.version == 4:
        spellings += [f"{address}:443", f"::ffff:{address}"]
    else:
        spellings.append(f"{address}%eth0")
    assert {parse_address(text) for text in spellings} == {expected}


@given(st.text(max_size=60))
def test_anything_may_stand_in_a_forwarded_header(text):
    """No text of a header raises, and none makes a stranger a caller of an allowed network."""
    access = Access(networks=["198.51.100.7"], trusted_proxies=["10.0.0.1"])
    stranger = access.caller("203.0.113.9", [text])
    assert access.refusal(stranger, []) is Refusal.NETWORK


def test_caller_behind_proxies_is_the_rightmost_stranger():
    """Only proxies of ours are believed, from the right; what a caller wrote itself is hearsay."""
    access = Access(trusted_proxies=["10.0.0.0/8", "2001:db8::/32"])
    assert str(access.caller("10.0.0.1", ["203.0.113.9"])) == "203.0.113.9"
    assert str(access.caller("10.0.0.1", ["198.51.100.1, 203.0.113.9, 10.0.0.2"])) == "203.0.113.9"
    assert str(access.caller("10.0.0.1", ["198.51.100.1", "203.0.113.9"])) == "203.0.113.9"
    assert str(access.caller("2001:db8::1", ["10.9.9.9"])) == "10.9.9.9"
    assert str(access.caller("203.0.113.9", ["10.0.0.7"])) == "203.0.113.9"
    assert access.caller("10.0.0.1", ["unknown"]) is None
    assert str(access.caller("10.0.0.1", [])) == "10.0.0.1"
    assert access.caller(None, ["10.0.0.1"]) is None


@given(
    ADDRESSES,
    st.lists(st.sampled_from(["IPADDR", "ipaddr", "", SECRET[:-1], SECRET + "x", SECRET.upper()]), max_size=4),
)
def test_no_address_stands_for_a_secret(address, offered):
    """Anyone who asks from wherever: where a secret is set, it is asked for."""
    for networks in ([], [str(address)], ["0.0.0.0/0", "::/0"]):
        access = Access(secrets=[SECRET], networks=networks)
        for by_address in (False, True):
            assert access.refusal(address, offered, by_address=by_address) is Refusal.SECRET
            assert access.refusal(address, [*offered, SECRET], by_address=by_address) is None


@pytest.mark.parametrize("word", ["IPADDR", "ipaddr", "IpAddr"])
def test_the_word_for_addresses_is_no_secret(word):
    """Everybody who knows lemmy-ansible knows it."""
    with pytest.raises(SettingsError, match="not a secret"):
        Access(secrets=[word])


@pytest.mark.parametrize(
    "networks",
    [
        ["172.18.0.0/16"],
        ["10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12"],
        ["fd00::/8"],
        ["fe80::/10", "::1"],
        ["203.0.113.7"],
        ["203.0.113.0/24"],
        ["2001:db8:1::/48"],
        ["100.64.0.0/10"],
    ],
)
def test_networks_are_enough_to_listen_where_others_can_reach_it(networks):
    """As lemmy-ansible sets it up: no secret, and only callers of one's own networks."""
    Access(networks=networks).check_bind("0.0.0.0")  # noqa: S104
    Access(networks=networks).check_bind("::")


@pytest.mark.parametrize(
    "network",
    ["0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "172.0.0.0/8", "203.0.0.0/16", "2001:db8::/32", "8.0.0.0/7"],
)
def test_networks_that_hold_strangers_are_not_enough(network):
    """Without a secret a network as wide as the internet would let anybody ask; with one it is allowed."""
    with pytest.raises(SettingsError, match="strangers") as caught:
        Access(networks=["10.0.0.0/8", network]).check_bind("0.0.0.0")  # noqa: S104
    assert network in caught.value.message
    Access(networks=[network]).check_bind("127.0.0.1")
    Access(secrets=[SECRET], networks=[network]).check_bind("0.0.0.0")  # noqa: S104
