"""A real pict-rs asks the real hook about uploads, reached by address, by name and through a relay: what it answers.

The hook is the command in its own process. It judges with the canary alone, so that no weights are needed.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from support.admin import Admin, eventually, free_port
from support.media import moving_pictures
from support.servers.compose import compose_with_pictrs, environment
from support.servers.pictrs_process import COMING, STABLE, Pictrs, alias, require_pictrs, told
from support.storage.sample_store import sample_pictures
from support.web import pictrs_client

from lemmy_safety.detectors.hashes.canary import canary_image, canary_png
from lemmy_safety.ledger import open_ledger, sqlite_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.external_service

ROOT = Path(__file__).resolve().parents[2]

HOOK_URL = "PICTRS__MEDIA__EXTERNAL_VALIDATION"
ALLOW_LOCAL = "PICTRS__CLIENT__ALLOW_LOCAL_CONNECTIONS"

ACCEPTED, REFUSED, NOT_ASKED = (201, ""), (400, "failed-external-validation"), (500, "http-client-error")

KEY = "key-of-the-workers-0123456789"

#: A row of the table in docs/upload-hook.md: URL, value of the option, and two answers.
_ROW = re.compile(r"^\| `http://([^/`]+):14051(/[^`]*)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


@pytest.fixture(params=[STABLE, COMING])
def version(request) -> str:
    require_pictrs(request.param)
    return request.param


@pytest.fixture
def pictrs(version: str, tmp_path: Path) -> Iterator[Callable[..., Pictrs]]:
    """A function that starts a pict-rs with the settings given; the one before it is stopped."""
    running: list[Pictrs] = []

    def start(settings: dict[str, str]) -> Pictrs:
        while running:
            running.pop().__exit__()
        server = Pictrs(tmp_path / f"pictrs-{free_port()}", version, settings)
        running.append(server)
        server.start()
        return server

    yield start
    for server in running:
        server.__exit__()


@pytest.fixture
def hook(tmp_path: Path) -> int:
    """The port of ``lemmy-safety serve`` as it is without further settings."""
    return started(Admin(tmp_path, {"LEMMY_SAFETY_DETECTORS": "hashes"}), "serve")


def started(admin: Admin, *command: str, sign: str = "/ready") -> int:
    """Start the hook or the relay and wait until ``sign`` is 200 (of a relay, "/ready" waits for a worker); its port."""
    admin.folder.mkdir(exist_ok=True)
    port = free_port()
    admin.env["HOOK_PORT"] = str(port)
    # More than the default, for busy machines, and less than pict-rs waits (30 s, 15 s in the compose file).
    admin.env["HOOK_BUDGET_S"] = "14"
    process = admin.start(*command)

    def ready() -> bool:
        try:
            return pictrs_client.get(port, sign).status == 200
        except OSError:
            return False

    eventually(ready, f"{command} is ready", process=process)
    return port


def logged_url(admin: Admin) -> str:
    """The URL that ``serve`` says pict-rs needs."""
    (url,) = re.findall(rf"{HOOK_URL}=(\S+)", admin.log())
    return url


def asked(port: int) -> int:
    """How many uploads the hook has answered."""
    text = pictrs_client.get(port, "/metrics").body.decode()
    return sum(int(float(line.split()[-1])) for line in text.splitlines() if "hook_answers_total{" in line)


def photo() -> bytes:
    return next(data for _, data in sample_pictures(1, seed=5))


def shown(cell: str) -> tuple[int, str]:
    """A cell of the table, such as ``**500 `http-client-error`**``, as ``told`` gives it."""
    status, _, code = cell.replace("*", "").replace("`", "").strip().partition(" ")
    return int(status), code


def documented_answers() -> list[tuple[str, str, str, tuple[int, str], tuple[int, str]]]:
    text = (ROOT / "docs" / "upload-hook.md").read_text(encoding="utf-8")
    return [
        (host, path, option.strip().strip("`"), shown(harmless), shown(canary))
        for host, path, option, harmless, canary in _ROW.findall(text)
    ]


def test_pictrs_answers_as_the_table_in_the_docs_says(pictrs, hook):
    """Each row of docs/upload-hook.md, with a real pict-rs and the real hook."""
    rows = documented_answers()
    assert {(host, option) for host, _, option, _, _ in rows} == {
        (host, option) for host in ("127.0.0.1", "localhost") for option in ("not set", "true")
    }
    for host, path, option, harmless, canary in rows:
        options = {} if option == "not set" else {ALLOW_LOCAL: option}
        server = pictrs({HOOK_URL: f"http://{host}:{hook}{path}", **options})
        answers = [told(server.upload(data)) for data in (photo(), canary_png())]
        print(f"{server.version:<11} {host:<10} {option:<8} {answers}")  # noqa: T201 - shown by pytest -s
        assert answers == [harmless, canary], (host, option)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_url_that_serve_logs_works(pictrs, tmp_path, host):
    """Whatever HOOK_HOST says, an admin can copy the line from the log into pict-rs's environment."""
    admin = Admin(tmp_path, {"LEMMY_SAFETY_DETECTORS": "hashes", "HOOK_HOST": host, "HOOK_SECRET": KEY})
    started(admin, "serve")
    assert KEY not in admin.log()
    server = pictrs({HOOK_URL: logged_url(admin).replace("<HOOK_SECRET>", KEY)})
    assert told(server.upload(photo())) == ACCEPTED
    assert told(server.upload(canary_png())) == REFUSED


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", socket.gethostname()])
def test_with_a_name_of_a_private_address_every_upload_fails_unasked(pictrs, hook, name):
    """pict-rs does not even ask the hook, so nothing on our side can notice it."""
    server = pictrs({HOOK_URL: f"http://{name}:{hook}/validate"})
    assert told(server.upload(photo())) == NOT_ASKED
    assert told(server.upload(canary_png())) == NOT_ASKED
    assert asked(hook) == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "2130706433", "[::ffff:127.0.0.1]"])
def test_an_address_in_any_notation_works(pictrs, hook, address):
    """pict-rs looks up names only; an address goes past its guard however it is written."""
    server = pictrs({HOOK_URL: f"http://{address}:{hook}/validate"})
    assert told(server.upload(photo())) == ACCEPTED
    assert told(server.upload(canary_png())) == REFUSED
    assert asked(hook) == 2


def test_through_a_relay_pictrs_notices_no_difference(pictrs, tmp_path):
    """``serve --relay`` and a worker in processes of their own: a picture gets in, the canary does not."""
    port = started(Admin(tmp_path / "relay", {"RELAY_APIKEY": KEY}), "serve", "--relay")
    home = Admin(
        tmp_path / "home",
        {
            "LEMMY_SAFETY_DETECTORS": "hashes",
            "PICTRS_SAFETY_URL": f"http://127.0.0.1:{port}",
            "PICTRS_SAFETY_APIKEY": KEY,
        },
    )
    home.folder.mkdir()
    worker = home.start("worker")
    eventually(lambda: "working for" in home.log(), "the worker asks for work", process=worker)
    server = pictrs({HOOK_URL: f"http://127.0.0.1:{port}/validate"})
    assert told(server.upload(canary_png())) == REFUSED
    assert told(server.upload(photo())) == ACCEPTED


@pytest.mark.parametrize("relay", [False, True])
def test_the_key_on_record_is_where_pictrs_has_the_file(pictrs, version, tmp_path, relay):
    """0.6 says under which key it has stored an upload, and pict-rs's own answer about it is the same; 0.5 says nothing."""
    admin = Admin(tmp_path, {"LEMMY_SAFETY_DETECTORS": "hashes", "RELAY_APIKEY": KEY, "HOOK_BUDGET_S": "0.5"})
    command = ("serve", "--relay") if relay else ("serve",)
    port = started(admin, *command, sign="/health" if relay else "/ready")
    server = pictrs({HOOK_URL: f"http://127.0.0.1:{port}/validate"})
    name = alias(server.upload(photo()))
    stored = server.get(f"/image/original/{name}").content
    key = server.internal("GET", "identifier", alias=name).json()["identifier"]
    with open_ledger(sqlite_url(tmp_path / "lemmy_safety.db")) as ledger:
        row = ledger.uploads.get(hashlib.sha256(stored).hexdigest())
    assert row is not None
    assert row.size == len(stored) == (server.files / key).stat().st_size
    assert row.storage_key == (key if version == COMING else None)


def saved(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    image.convert("RGB").save(out, kind, quality=80)
    return out.getvalue()


def canary_video() -> bytes:
    frames = moving_pictures.drifting(30, size=(320, 240))
    frames[14:19] = [canary_image().convert("RGB").resize((320, 240))] * 5
    return moving_pictures.video(frames, moving_pictures.CODECS["webm vp9"])


def test_every_kind_of_file_that_pictrs_hands_on_is_judged(pictrs, hook):
    """What pict-rs made of each upload is refused where it shows the canary, and let in where it does not."""
    server = pictrs({HOOK_URL: f"http://127.0.0.1:{hook}/validate"})
    for kind in ("JPEG", "PNG", "WEBP", "GIF"):
        assert told(server.upload(saved(canary_image(), kind))) == REFUSED, kind
        assert told(server.upload(saved(Image.effect_noise((300, 200), 60), kind))) == ACCEPTED, kind
    assert told(server.upload(canary_video(), "video/webm")) == REFUSED


def test_what_was_refused_is_not_in_the_store(pictrs, hook):
    """pict-rs drops the file of a refused upload and keeps the one of an accepted upload."""
    server = pictrs({HOOK_URL: f"http://127.0.0.1:{hook}/validate"})

    def files() -> int:
        # os.walk copes with folders that pict-rs removes meanwhile.
        return sum(len(names) for _, _, names in os.walk(server.files))

    assert told(server.upload(canary_png())) == REFUSED
    eventually(lambda: files() == 0, "the refused file is removed", patience_s=30)
    name = alias(server.upload(photo()))
    assert server.get(f"/image/original/{name}").status_code == 200


class _Origin(BaseHTTPRequestHandler):
    """A web server in the internal network that no one outside should reach; counts who asks."""

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        self.wfile.write(canary_png())

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize(("option", "status", "asked_by_pictrs"), [("false", 400, 0), ("true", 201, 1)])
def test_what_allowing_local_connections_opens(pictrs, name, option, status, asked_by_pictrs):
    """With it pict-rs fetches pictures from internal addresses for anyone who gives it a link, as the docs warn."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Origin) as origin:
        origin.asked = 0
        threading.Thread(target=origin.serve_forever, args=(0.02,), daemon=True).start()
        try:
            server = pictrs({ALLOW_LOCAL: option})
            answer = server.get("/image/download", url=f"http://{name}:{origin.server_port}/secret.png")
            assert (answer.status_code, origin.asked) == (status, asked_by_pictrs)
        finally:
            origin.shutdown()


def test_the_compose_file_works_as_it_is(pictrs, tmp_path):
    """Both services with the environment that compose would give them; only the addresses are those of this machine."""
    services = compose_with_pictrs()["services"]
    variables = {"HOOK_SECRET": "secret-of-the-compose-file", "PICTRS_API_KEY": "key-of-the-compose-file"}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    hook = services["lemmy-safety-hook"]
    settings = {"LEMMY_SAFETY_DETECTORS": "hashes", **environment(hook, variables), "HOOK_HOST": "127.0.0.1"}
    port = started(Admin(tmp_path, settings), *hook["command"])

    given = environment(services["pictrs-with-hook"], variables)
    address = hook["networks"]["hook"]["ipv4_address"]
    assert f"//{address}:14051/" in given[HOOK_URL]
    given[HOOK_URL] = given[HOOK_URL].replace(f"//{address}:14051/", f"//127.0.0.1:{port}/")
    server = pictrs(given)
    assert told(server.upload(photo())) == ACCEPTED
    assert told(server.upload(canary_png())) == REFUSED

    without_secret = {**given, HOOK_URL: f"http://127.0.0.1:{port}/validate"}
    assert told(pictrs(without_secret).upload(photo())) == REFUSED

    not_asking = environment(services["pictrs"], {"PICTRS_API_KEY": variables["PICTRS_API_KEY"]})
    assert told(pictrs(not_asking).upload(canary_png())) == ACCEPTED


@pytest.mark.parametrize("database", ["sled-repo", "elsewhere"])
def test_the_folder_above_a_real_pictrs_files_is_refused(version, tmp_path, database):
    """By pict-rs's own database in it, and where that has another name by the keys; nothing is deleted."""
    folder = tmp_path / "pictrs"
    with Pictrs(folder, version, {"PICTRS__REPO__PATH": str(folder / database)}) as server:
        assert server.upload(canary_png()).status_code == 201
    before = sorted(folder.rglob("*"))
    named = {"PICTRS_FILES_DIRECTORY": str(folder)}
    admin = Admin(tmp_path, {"LEMMY_SAFETY_DETECTORS": "hashes", "UNREADABLE_ACTION": "delete", **named})
    done = admin.run("--all", "--yes", code=24)
    assert f"Set PICTRS_FILES_DIRECTORY to {server.files}" in done.stderr
    assert sorted(folder.rglob("*")) == before
