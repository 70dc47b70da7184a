"""``serve`` as lemmy-ansible sets pictrs-safety up: on all addresses, and callers named by their networks."""

from __future__ import annotations

import re
import sys

import pytest
from support.admin import Admin, eventually, free_port
from support.web import pictrs_client

from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.errors import SettingsError

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="other systems have the one loopback address 127.0.0.1"),
]

SECRET = "secret-of-the-hook-0123456789"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is tested
SCAN = "/api/v1/scan/IPADDR"
FRIEND, STRANGER = "127.0.0.2", "127.0.0.3"


def started(admin: Admin) -> int:
    port = free_port()
    admin.env["HOOK_PORT"] = str(port)
    process = admin.start("serve")

    def ready() -> bool:
        try:
            return pictrs_client.get(port, "/ready").status == 200
        except OSError:
            return False

    eventually(ready, "the hook is ready", process=process)
    return port


def asked(port: int, path: str, caller: str) -> int:
    with pictrs_client.Connection(port, caller=caller) as connection:
        connection.send(pictrs_client.head(path) + pictrs_client.chunks(canary_png()) + pictrs_client.END)
        return connection.answer().status


def settings(**more: str) -> dict[str, str]:
    return {"LEMMY_SAFETY_DETECTORS": "hashes", "HOOK_HOST": EVERYWHERE, **more}


def test_networks_alone_admit_by_address(tmp_path):
    """Without a secret those in the networks are answered on every route, no one else is, and the log says so."""
    admin = Admin(tmp_path, settings(HOOK_NETWORKS=FRIEND))
    port = started(admin)
    for path in (SCAN, "/validate"):
        assert asked(port, path, FRIEND) == 406
        assert asked(port, path, STRANGER) == 403
    assert "no secret is set: anyone in HOOK_NETWORKS is answered" in admin.log()


def test_with_a_secret_no_address_is_enough(tmp_path):
    """IPADDR opens nothing then, from wherever it is asked; secret and network are both needed."""
    admin = Admin(tmp_path, settings(HOOK_NETWORKS=FRIEND, HOOK_SECRET=SECRET))
    port = started(admin)
    assert asked(port, SCAN, FRIEND) == 401
    assert asked(port, SCAN, STRANGER) == 403
    assert asked(port, f"/api/v1/scan/{SECRET}", FRIEND) == 406
    assert asked(port, f"/api/v1/scan/{SECRET}", STRANGER) == 403


@pytest.mark.parametrize(
    "more", [{}, {"HOOK_NETWORKS": "0.0.0.0/0"}, {"HOOK_NETWORKS": "10.0.0.0/8,128.0.0.0/1"}, {"HOOK_SECRET": "IPADDR"}]
)
@pytest.mark.parametrize("relay", [False, True])
def test_what_would_let_anybody_ask_does_not_start(tmp_path, more, relay):
    """It ends with the code for settings, before it listens."""
    admin = Admin(tmp_path, settings(RELAY_APIKEY="key-of-the-workers-0123456789", HOOK_PORT=str(free_port()), **more))
    process = admin.start("serve", *(["--relay"] if relay else []))
    assert process.wait(60) == SettingsError.exit_code
    assert "listening" not in admin.log()
    assert re.search("[Ww]ithout a secret|word for access by address", admin.log())
