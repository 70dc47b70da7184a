"""The locations of docs/relay.md and docs/upload-hook.md in a real nginx, before a real relay with secret and networks.

nginx, the relay and the worker are processes of their own. Callers differ by their loopback address, which needs a
system that has all of 127.0.0.0/8.
"""

from __future__ import annotations

import contextlib
import random
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support.admin import Admin, eventually, free_port, stop
from support.servers.nginx import Nginx, documented_location, require_nginx
from support.servers.pictrs_process import COMING, STABLE, Pictrs, require_pictrs, told
from support.storage.sample_store import sample_pictures
from support.web import pictrs_client

from lemmy_safety.detectors.hashes.canary import canary_png

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.external_service,
    pytest.mark.skipif(sys.platform != "linux", reason="other systems have the one loopback address 127.0.0.1"),
]

KEY, SECRET = "key-of-the-workers-0123456789", "secret-of-the-hook-0123456789"

#: nginx asks the relay from 127.0.0.1, and so does a pict-rs of this machine.
LOCAL, FRIEND, STRANGER = "127.0.0.1", "127.0.0.2", "127.0.0.3"

HOOK = f"/pictrs-hook/validate/{SECRET}"

MB = 1024 * 1024


@dataclass
class Proxied:
    """A relay behind nginx."""

    relay: Admin
    process: subprocess.Popen[str]
    nginx: Nginx

    def ask(self, data: bytes, path: str = HOOK, *, caller: str = FRIEND, **headers: str) -> int:
        """The status for an upload, in chunks as pict-rs sends it, from one of the loopback addresses."""
        with pictrs_client.Connection(self.nginx.port, caller=caller) as connection:
            # Where nginx has answered before the body was there, the rest of it may not go through.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.send(pictrs_client.head(path, **headers) + pictrs_client.chunks(data) + pictrs_client.END)
            return connection.answer().status

    def get(self, path: str, **headers: str) -> int:
        return pictrs_client.get(self.nginx.port, path, **headers).status


@pytest.fixture
def relay(request, tmp_path) -> tuple[Admin, subprocess.Popen[str], int]:
    """``serve --relay``, which believes nginx and lets pict-rs's addresses in."""
    require_nginx()
    port = free_port()
    admin = Admin(
        tmp_path / "relay",
        {
            "HOOK_PORT": str(port),
            "HOOK_SECRET": SECRET,
            "HOOK_NETWORKS": f"{LOCAL},{FRIEND}",
            "HOOK_TRUSTED_PROXIES": LOCAL,
            "HOOK_ON_FAILURE": "refuse",
            # Time enough for a worker on a busy machine; without one there is nothing to wait for.
            "HOOK_BUDGET_S": "60" if "worker" in request.fixturenames else "2",
            "RELAY_APIKEY": KEY,
            "LEMMY_SAFETY_MAX_MB": "100",
        },
    )
    admin.folder.mkdir()
    process = admin.start("serve", "--relay")
    eventually(lambda: "listening on" in admin.log(), "the relay listens", process=process)
    return admin, process, port


@pytest.fixture
def behind_nginx(relay, tmp_path) -> Iterator[Proxied]:
    """Both documented locations before the relay."""
    admin, process, port = relay
    locations = documented_location("relay.md") + documented_location("upload-hook.md")
    with Nginx(tmp_path / "nginx", locations, upstream_port=port) as nginx:
        yield Proxied(admin, process, nginx)


@pytest.fixture
def worker(behind_nginx, tmp_path) -> None:
    """``worker`` at home, which reaches the relay through nginx."""
    home = Admin(
        tmp_path / "home",
        {
            "LEMMY_SAFETY_DETECTORS": "hashes",
            "PICTRS_SAFETY_URL": f"http://127.0.0.1:{behind_nginx.nginx.port}",
            "PICTRS_SAFETY_APIKEY": KEY,
        },
    )
    home.folder.mkdir()
    process = home.start("worker")
    eventually(lambda: "working for" in home.log(), "the worker asks for work", process=process)


def photo() -> bytes:
    return next(data for _, data in sample_pictures(1, seed=5))


def large_picture(size: int) -> bytes:
    """A picture with noise behind its end, ``size`` bytes together; the noise is seeded."""
    picture = photo()
    return picture + random.Random(5).randbytes(size - len(picture))


def test_uploads_through_nginx_are_judged_by_a_worker_behind_nginx(behind_nginx, worker):
    """Chunked bodies of all sizes that pict-rs can have arrive; what nginx is told to refuse it refuses."""
    assert behind_nginx.ask(photo()) == 200
    assert behind_nginx.ask(canary_png()) == 406
    assert behind_nginx.ask(large_picture(3 * MB)) == 200
    assert behind_nginx.ask(large_picture(39 * MB)) == 200
    assert behind_nginx.ask(large_picture(65 * MB)) == 413


@pytest.mark.parametrize("version", [STABLE, COMING])
def test_a_real_pictrs_asks_through_nginx(behind_nginx, worker, tmp_path, version):
    """pict-rs, nginx, relay, nginx, worker, and back. nginx passes on both Content-Type headers of 0.6."""
    require_pictrs(version)
    settings = {"PICTRS__MEDIA__EXTERNAL_VALIDATION": f"http://127.0.0.1:{behind_nginx.nginx.port}{HOOK}"}
    with Pictrs(tmp_path / "pictrs", version, settings) as pictrs:
        assert told(pictrs.upload(photo())) == (201, "")
        assert told(pictrs.upload(canary_png())) == (400, "failed-external-validation")


@pytest.mark.parametrize(
    "path", ["/pictrs-hook/validate", "/pictrs-hook/validate/another-secret-012345", "/pictrs-hook/api/v1/scan/IPADDR"]
)
def test_without_the_secret_nothing_is_answered(behind_nginx, path):
    """Also not for an address that is in the networks."""
    assert behind_nginx.ask(photo(), path) == 401


def test_an_address_is_not_believed_from_its_caller(behind_nginx):
    """The secret is right and the caller says that it is pict-rs; nginx adds who it really is, and that counts."""
    assert behind_nginx.ask(photo(), caller=STRANGER) == 403
    for forged in (FRIEND, f"{FRIEND}, {LOCAL}", f"{LOCAL}, {FRIEND}", LOCAL, "::1", "nonsense"):
        for path in (HOOK, "/pictrs-hook/api/v1/scan/IPADDR"):
            assert behind_nginx.ask(photo(), path, caller=STRANGER, x_forwarded_for=forged) == 403, (forged, path)
    assert "none of the allowed networks" in behind_nginx.relay.log()


def test_the_location_for_workers_lets_no_uploads_through(behind_nginx):
    """The relay takes everybody who comes through that location for 127.0.0.1, so only workers may."""
    for path in ("/api/v1/scan/IPADDR", f"/api/v1/scan/{SECRET}", f"/validate/{SECRET}", "/api/v1/", "/metrics"):
        for caller in (STRANGER, FRIEND):
            assert behind_nginx.ask(photo(), path, caller=caller) == 404, (path, caller)


def test_workers_need_their_key_and_get_json_of_two_megabytes_through(behind_nginx):
    """Another key is refused by the relay, a message that is too large by nginx."""
    assert behind_nginx.get("/api/v1/pop", apikey=KEY) == 204
    assert behind_nginx.get("/api/v1/unchecked", apikey=KEY) == 200
    assert behind_nginx.get("/api/v1/pop", apikey=SECRET) == 403
    assert behind_nginx.ask(bytes(3 * MB), "/api/v1/unchecked", apikey=KEY) == 413


def test_a_workers_question_stays_open_until_there_is_work(behind_nginx):
    """A long poll goes through nginx: asked before the upload, answered with it, byte for byte."""
    picture = large_picture(2 * MB)
    with pictrs_client.Connection(behind_nginx.nginx.port) as question:
        question.send(f"GET /api/v1/pop?wait=25 HTTP/1.1\r\nhost: 127.0.0.1\r\napikey: {KEY}\r\n\r\n".encode())
        assert question.is_silent(within_s=1.5)
        upload = threading.Thread(target=behind_nginx.ask, args=(picture,))
        upload.start()
        answer = question.answer()
        upload.join(30)
    assert (answer.status, answer.body == picture) == (200, True)


def test_the_secret_is_in_no_log_of_nginx(behind_nginx):
    """Neither while the relay answers nor when it is down, which nginx would log with the path."""
    behind_nginx.ask(photo())
    behind_nginx.ask(photo(), caller=STRANGER)
    assert stop(behind_nginx.process)[0] == 0
    assert behind_nginx.ask(photo()) == 502
    assert behind_nginx.get("/api/v1/pop", apikey=KEY) == 502
    assert "/api/v1/pop" in behind_nginx.nginx.logs()
    assert SECRET not in behind_nginx.nginx.logs()
    assert KEY not in behind_nginx.nginx.logs()


BUFFERED = "is buffered to a temporary file"


@pytest.mark.parametrize(("taken_out", "written"), [("", False), ("proxy_request_buffering off;", True)])
def test_nginx_writes_no_upload_to_its_disk(relay, tmp_path, taken_out, written):
    """nginx warns when it does. The second case shows that the test would notice."""
    admin, process, port = relay
    location = documented_location("upload-hook.md")
    assert taken_out in location
    assert " crit;" in location
    location = location.replace(taken_out or "nothing", "").replace(" crit;", " warn;")
    with Nginx(tmp_path / "nginx", location, upstream_port=port) as nginx:
        assert Proxied(admin, process, nginx).ask(large_picture(3 * MB)) in (200, 406)
        assert (BUFFERED in nginx.logs()) == written
