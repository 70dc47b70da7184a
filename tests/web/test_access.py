"""Who is let in, asked over a socket: by secrets, by networks, behind proxies."""

from __future__ import annotations

import logging

import pytest
from hypothesis import strategies as st
from support.web.hook import running_hook
from support.web.pictrs_client import END, Connection, chunks, get, head
from support.web.relay import running_relay

from lemmy_safety.access.rules import Access
from lemmy_safety.access.secrets import fingerprint
from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.fingerprints import sha256_of

SECRET = "an-example-of-a-secret"
OTHER = "the-next-one-of-two-secrets"
CANARY = canary_png()

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


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
        # No one of ours forwards, so what a caller claims about its address is not believed.
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
