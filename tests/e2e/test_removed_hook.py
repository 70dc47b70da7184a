"""A picture that nginx keeps in its cache is served until the cache is told: the documented cache and script, all real."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest
from support.admin import Admin
from support.servers.nginx import ROOT, Nginx, require_nginx
from support.servers.pictrs_process import API_KEY, alias
from support.servers.pictrs_repos import DUMMY, pictrs_with

from lemmy_safety.detectors.hashes.canary import canary_png

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.external_service

_CACHE = re.compile(r"^```nginx\n(proxy_cache_path .*?;)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SCRIPT = re.compile(r"^```sh\n(#!/bin/sh\n.*?)^```$", re.MULTILINE | re.DOTALL)


def documented(folder: Path) -> tuple[str, str, str]:
    """The cache, the location and the script of docs/operations.md, with the test's own folder."""
    document = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    ((cache, location),) = _CACHE.findall(document)
    (script,) = (found for found in _SCRIPT.findall(document) if "/var/cache/nginx/pictrs" in found)
    return tuple(text.replace("/var/cache/nginx/pictrs", str(folder)) for text in (cache, location, script))


def test_a_removed_picture_is_not_served_from_a_cache_that_was_told(tmp_path) -> None:
    require_nginx()
    cache, location, script = documented(tmp_path / "cache")
    program = tmp_path / "forget-picture"
    program.write_text(script)
    program.chmod(0o755)
    with (
        pictrs_with("0.5-sled", tmp_path / "pictrs", DUMMY) as (server, _),
        Nginx(tmp_path / "nginx", location, upstream_port=server.port, http=cache) as nginx,
    ):
        flagged, kept = alias(server.upload(canary_png())), alias(server.upload(b"\x89PNG\r\n\x1a\n harmless"))

        def status(name: str) -> int:
            url = f"http://127.0.0.1:{nginx.port}/pictrs/image/{name}"
            return httpx.get(url, trust_env=False).status_code

        assert [status(name) for name in (flagged, kept)] == [200, 200]
        env = {
            "PICTRS_FILES_DIRECTORY": str(server.files),
            "LEMMY_SAFETY_DETECTORS": "hashes",
            "PICTRS_URL": f"http://127.0.0.1:{server.port}",
            "PICTRS_API_KEY": API_KEY,
        }
        Admin(tmp_path, env).run("--all", "--yes", code=None)
        assert server.get(f"/image/original/{flagged}").status_code == 404
        assert status(flagged) == 200  # from the cache
        done = Admin(tmp_path, {**env, "REMOVED_HOOK": f"{program} {{alias}}"}).run("repair", "--yes")
        assert status(flagged) == 404
        server.stop()
        assert status(kept) == 200  # this one is still in the cache
        assert API_KEY not in done.stdout + done.stderr
