"""Who is let in: secrets, networks, proxies; as rules, and asked over a socket."""

from __future__ import annotations

import ipaddress
import logging

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.hook_service import running_hook
from support.pictrs_client import END, Connection, chunks, get, head
from support.relaying import running_relay

from lemmy_safety.access.rules import Access, Refusal, fingerprint, is_loopback, parse_address
from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.errors import SettingsError
from lemmy_safety.fingerprints import sha256_of

SECRET = "an-example-of-a-secret"
OTHER = "the-next-one-of-two-secrets"
CANARY = canary_png()

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


def test_secret_is_asked_for_in_path_and_headers(tmp_path):
    """Path, X-Api-Key and Authorization: Bearer open, each of several secrets; nothing else does, before any decoding."""
    access = Access(secrets=[SECRET, OTHER])
    with running_hook(tmp_path, access=access) as hook:
        for secret in (SECRET, OTHER):
            assert hook.ask(CANARY, f"/validate/{secret}").status == 406
            assert hook.ask(CANARY, f"/api/v1/scan/{secret}").status == 406
            assert hook.ask(CANARY, x_api_key=secret).status == 406
            assert hook.ask(CANARY, authorization=f"Bearer {secret}").status == 406
        decoded = hook.decoder.calls
        refused = hook.ask(CANARY)
        assert (refused.status, refused.body) == (401, b"unauthorized")
        assert refused.headers["www-authenticate"] == "Bearer"
        for answer in (
            hook.ask(CANARY, "/validate/wrong"),
            hook.ask(CANARY, f"/validate/{SECRET}x"),
            hook.ask(CANARY, f"/validate/{SECRET[:-1]}"),
            hook.ask(CANARY, "/api/v1/scan/IPADDR"),
            hook.ask(CANARY, x_api_key="wrong"),
            hook.ask(CANARY, authorization=f"Basic {SECRET}"),
            hook.ask(CANARY, f"/validate?secret={SECRET}"),
        ):
            assert answer.status == 401
        assert hook.decoder.calls == decoded
        assert get(hook.port, "/metrics").status == 401
        assert get(hook.port, "/metrics", x_api_key=SECRET).status == 200
        assert hook.metric('rejected_total{status="401"}', x_api_key=SECRET) == 9


def test_without_a_secret_any_id_is_accepted(tmp_path):
    """On a loopback address without a secret, the path of pictrs-safety works with whatever id was configured."""
    with running_hook(tmp_path) as hook:
        assert hook.ask(CANARY, "/api/v1/scan/some-id").status == 406
        assert hook.ask(CANARY, "/validate/anything").status == 406


def test_networks_over_http(tmp_path):
    """A caller outside the networks gets 403 with the right secret too; one inside needs the secret all the same."""
    near = Access(secrets=[SECRET], networks=["127.0.0.0/8"])
    with running_hook(tmp_path, access=near) as hook:
        assert hook.ask(CANARY, f"/validate/{SECRET}").status == 406
        assert hook.ask(CANARY).status == 401
        # Nobody of ours forwards, so what a caller claims about its address is not believed.
        assert hook.ask(CANARY, f"/validate/{SECRET}", x_forwarded_for="203.0.113.9").status == 406
    far = Access(secrets=[SECRET], networks=["198.51.100.0/24"], trusted_proxies=["127.0.0.1"])
    with running_hook(tmp_path, access=far) as hook:
        assert hook.ask(CANARY, f"/validate/{SECRET}").status == 403
        assert hook.ask(CANARY, f"/validate/{SECRET}", x_forwarded_for="198.51.100.4").status == 406
        assert hook.ask(CANARY, f"/validate/{SECRET}", x_forwarded_for="198.51.100.4, 203.0.113.9").status == 403


#: Ways to ask without the secret.
AROUND = [
    "/api/v1/scan/IPADDR",
    "/api/v1/scan/ipaddr",
    "/api/v1/scan/%49PADDR",
    "/api/v1/scan/%49%50%41%44%44%52",
    "/api/v1/scan/IPADDR?x=y",
    "/api/v1/scan/IPADDR%20",
    "/api/v1/scan/IPADDR%00",
    "/api/v1/scan/IPADDR/",
    "/api/v1/scan//IPADDR",
    "//api/v1/scan/IPADDR",
    "/api/v1/scan/./IPADDR",
    "/api/v1/scan/../scan/IPADDR",
    "/API/V1/SCAN/IPADDR",
    "/api/v1/scan/",
    "/api/v1/scan",
    "/api/v1/scan/IPADDR%2F..%2F..",
    "/validate",
    "/validate/",
    "/validate/IPADDR",
    "//validate",
    "/validate//",
    "/validate/%2e%2e/validate",
    "/validate;x=y",
    "http://127.0.0.1/validate",
    "/metrics/../validate",
    "/ready/../api/v1/scan/IPADDR",
]


@pytest.mark.parametrize("relay", [False, True])
def test_nothing_gets_past_a_secret(tmp_path, relay):
    """With a secret set, no spelling of a path, no method and no header lets a caller of the right network in without it."""
    access = Access(secrets=[SECRET], networks=["127.0.0.0/8"], trusted_proxies=["127.0.0.1"])
    running = running_relay(tmp_path, access=access, budget_s=0.5) if relay else running_hook(tmp_path, access=access)
    with running as service:
        for path in AROUND:
            answer = service.ask(CANARY, path)
            assert answer.status in (401, 404), path
            assert answer.body not in (b"accepted", b"refused")
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "get", "post"):
            request = head("/api/v1/scan/IPADDR", method=method) + chunks(CANARY) + END
            with Connection(service.port) as connection:
                connection.send(request)
                assert connection.answer(bodiless=method == "HEAD").status == 405
        for headers in (
            {"x_forwarded_for": "127.0.0.1"},
            {"x_api_key": "IPADDR"},
            {"authorization": "Bearer IPADDR"},
            {"x_http_method_override": "GET"},
            {"x_original_url": "/health"},
            {"x_rewrite_url": "/health"},
        ):
            assert service.ask(CANARY, "/api/v1/scan/IPADDR", **headers).status == 401
        assert get(service.port, "/metrics").status == 401
        assert service.ledger.maintenance.stats().uploads == {}
        assert not relay or get(service.port, "/api/v1/pop", apikey=SECRET).status == 403


@pytest.mark.parametrize("spelling", ["IPADDR", "ipaddr", "%49PADDR"])
def test_without_a_secret_addresses_admit_only_where_networks_are_set(tmp_path, spelling):
    """lemmy-ansible's IPADDR asks to be let in by its address; without networks there is nothing that it could mean."""
    path = f"/api/v1/scan/{spelling}"
    with running_hook(tmp_path) as hook:
        answer = hook.ask(CANARY, path)
        assert (answer.status, answer.body) == (403, b"forbidden")
    with running_hook(tmp_path, access=Access(networks=["127.0.0.0/8"])) as hook:
        assert hook.ask(CANARY, path).status == 406
        assert hook.ask(CANARY, path, x_forwarded_for="203.0.113.9").status == 406
        assert hook.ask(CANARY).status == 406
    with running_hook(tmp_path, access=Access(networks=["198.51.100.0/24"], trusted_proxies=["127.0.0.1"])) as hook:
        assert hook.ask(CANARY, path).status == 403
        assert hook.ask(CANARY, path, x_forwarded_for="198.51.100.4").status == 406
        assert hook.ask(CANARY, path, x_forwarded_for="198.51.100.4, 203.0.113.9").status == 403
        assert hook.ask(CANARY, path, x_forwarded_for="unknown").status == 403
        assert hook.ask(CANARY, x_forwarded_for="203.0.113.9").status == 403
        assert get(hook.port, "/metrics").status == 403


@given(
    ADDRESSES,
    st.lists(st.sampled_from(["IPADDR", "ipaddr", "", SECRET[:-1], SECRET + "x", SECRET.upper()]), max_size=4),
)
def test_no_address_stands_for_a_secret(address, offered):
    """Whoever asks from wherever: where a secret is set, it is asked for."""
    for networks in ([], [str(address)], ["0.0.0.0/0", "::/0"]):
        access = Access(secrets=[SECRET], networks=networks)
        for by_address in (False, True):
            assert access.refusal(address, offered, by_address=by_address) is Refusal.SECRET
            assert access.refusal(address, [*offered, SECRET], by_address=by_address) is None


@pytest.mark.parametrize("word", ["IPADDR", "ipaddr", "IpAddr"])
def test_the_word_for_addresses_is_no_secret(word):
    """Everybody who knows lemmy-ansible knows it."""
    with pytest.raises(SettingsError, match="no secret"):
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


def test_secrets_show_nowhere(tmp_path, caplog):
    """No log line, answer or metric holds a secret, right or wrong; a wrong one shows by its digest."""
    wrong = "a-wrong-but-secret-guess"
    caplog.set_level(logging.DEBUG)
    with running_hook(tmp_path, access=Access(secrets=[SECRET])) as hook:
        answers = [
            hook.ask(CANARY, f"/validate/{SECRET}"),
            hook.ask(CANARY, f"/validate/{wrong}"),
            hook.ask(b"", f"/validate/{SECRET}"),
            hook.ask(CANARY, f"/no/such/route/{SECRET}"),
            hook.ask(CANARY, f"/validate/{SECRET}/more"),
            hook.ask(CANARY, x_api_key=wrong),
            get(hook.port, "/metrics", x_api_key=SECRET),
            get(hook.port, "/openapi.json"),
            get(hook.port, f"/validate/{SECRET}"),
        ]
    assert [answer.status for answer in answers] == [406, 401, 400, 404, 404, 401, 200, 200, 405]
    shown = caplog.text + "".join(f"{answer.headers}{answer.body!r}" for answer in answers)
    assert SECRET not in shown
    assert wrong not in shown
    assert fingerprint(wrong) in caplog.text


def test_metrics_hold_no_hash_key_or_address(tmp_path):
    """What Prometheus gets are counts: no digest of an upload, no name of one, no address of a caller."""
    with running_hook(tmp_path) as hook:
        hook.ask(CANARY)
        text = get(hook.port, "/metrics").body.decode()
        row = hook.ledger.objects.verdict_for(sha256_of(CANARY))
    assert row.assessment.sha256[:16] not in text
    assert row.assessment.pdq.hex[:16] not in text
    assert "127.0.0.1" not in text
