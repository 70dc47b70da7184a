"""With pict-rs's address set, a sweep removes flagged pictures through a real pict-rs: at every size, under every name."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from support.admin import Admin
from support.scan.passes import keys_in
from support.servers.pictrs_process import API_KEY, Pictrs, alias
from support.servers.pictrs_repos import pictrs_with

from lemmy_safety.detectors.hashes.canary import canary_image

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.external_service


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.convert("RGB").save(out, "PNG")
    return out.getvalue()


def canary(width: int = 640) -> bytes:
    image = canary_image()
    return png(image.resize((width, width * image.height // image.width)))


def harmless(seed: int) -> bytes:
    return png(Image.effect_noise((64 + seed, 48), 60))


def let_an_hour_pass(files: Path) -> None:
    """As if all files had been there for an hour: what was written just now may be incomplete, and waits."""
    for path in files.rglob("*"):
        moment = path.stat().st_mtime - 3600
        os.utime(path, (moment, moment))


def admin_of(folder: Path, server: Pictrs, url: str | None, **more: str) -> Admin:
    env = {
        "PICTRS_FILES_DIRECTORY": str(server.files),
        "LEMMY_SAFETY_DETECTORS": "hashes",
        "PICTRS_URL": f"http://127.0.0.1:{server.port}",
        "PICTRS_API_KEY": API_KEY,
        **({} if url is None else {"PICTRS_DATABASE_URL": url}),
        **more,
    }
    return Admin(folder, env)


@pytest.fixture(params=["0.5-sled", "0.5-postgres", "0.6-fjall"])
def instance(request, tmp_path):
    with pictrs_with(request.param, tmp_path / "pictrs") as (server, url):
        yield server, url, tmp_path


def make_thumbnail(server: Pictrs, name: str, size: str) -> str:
    before = keys_in(server.files)
    assert server.get("/image/process.webp", src=name, thumbnail=size).status_code == 200
    (key,) = keys_in(server.files) - before
    return key


def status(server: Pictrs, name: str) -> tuple[int, int]:
    """Of the original and of a thumbnail."""
    small = server.get("/image/process.webp", src=name, thumbnail="128")
    return server.get(f"/image/original/{name}").status_code, small.status_code


def test_a_flagged_picture_is_gone_at_every_size_and_under_every_name(instance) -> None:
    server, url, folder = instance
    kept = alias(server.upload(harmless(1)))
    names = [alias(server.upload(canary())) for _ in range(3)]
    for name in (kept, names[0]):
        make_thumbnail(server, name, "128")
    let_an_hour_pass(server.files)
    done = admin_of(folder, server, url).run("--all", "--yes")
    assert [status(server, name) for name in names] == [(404, 404)] * 3
    assert status(server, kept) == (200, 200)
    assert len(keys_in(server.files)) == 2
    again = alias(server.upload(canary()))
    assert server.get(f"/image/original/{again}").status_code == 200
    assert API_KEY not in done.stdout + done.stderr
