"""A real pict-rs for tests: its files and its sled repository in a folder of its own, on a free loopback port.

``scripts/build_pictrs.sh`` builds the program into the cache folder; ``SERVER_BUILDS`` names another folder. pict-rs
calls ImageMagick 7 (``magick``); where only ImageMagick 6 is installed, as on Debian 12, a small program of that name
comes before it in PATH. That is enough for jpeg, png, webp, gif and videos, and not for avif and jxl.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING, Self

import httpx
import pytest
from support.servers.base import free_port, server_builds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: What the gate builds and tests with.
STABLE = "0.5.25"
#: What `make slow` builds and tests with: tests/e2e/conftest.py marks the tests of this version.
COMING = "0.6.0-rc.6"

API_KEY = "key-of-the-admin-0123456789"

_EXTERNAL_PROGRAMS = ("ffmpeg", "ffprobe", "exiftool")

#: Tries, 20 ms apart, until the server answers.
_START_TRIES = 3000

_UPLOAD_TRIES = 3

#: Longer than pict-rs waits for anything in these tests.
_PATIENCE_S = 60.0

#: pict-rs 0.5 says ``magick convert ...``, 0.6 ``magick ...``; ImageMagick 6 wants ``convert ...``.
_MAGICK_6 = '#!/bin/sh\n[ "$1" = convert ] && shift\nexec "{convert}" "$@"\n'


def _program(version: str) -> Path:
    return server_builds() / f"pict-rs-{version}" / "bin" / "pict-rs"


def _convert() -> str | None:
    """ImageMagick 6's convert: the system's own first, because another program of that name may come before it."""
    return shutil.which("convert", path="/usr/bin") or shutil.which("convert")


def missing_pictrs(version: str) -> str:
    """Why this version cannot be started here; empty when it can."""
    if os.name != "posix":
        return "the suite starts pict-rs on POSIX systems only"
    if not _program(version).is_file():
        return f"{_program(version)} does not exist (bash scripts/build_pictrs.sh {version})"
    missing = [name for name in _EXTERNAL_PROGRAMS if shutil.which(name) is None]
    if shutil.which("magick") is None and _convert() is None:
        missing.append("magick or convert")
    return f"pict-rs needs programs that are not installed: {', '.join(missing)}" if missing else ""


def require_pictrs(version: str) -> None:
    """Skip loudly where this version cannot be started; in CI fail instead."""
    if missing := missing_pictrs(version):
        message = f"NOT TESTED WITH A REAL pict-rs {version}: {missing}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


class Pictrs:
    """A running pict-rs. ``settings`` are its environment variables, as an admin writes them.

    Start, stop and start again on the same data at the same address. ``files`` is the folder of its store, unless
    ``store`` has the variables of another one.
    """

    def __init__(
        self,
        folder: Path,
        version: str = STABLE,
        settings: Mapping[str, str] | None = None,
        *,
        store: Mapping[str, str] | None = None,
    ) -> None:
        self.version = version
        self.folder = folder
        self.files = folder / "files"
        self.port = free_port()
        for needed in (self.files, folder / "bin", folder / "tmp"):
            needed.mkdir(parents=True, exist_ok=True)
        if shutil.which("magick") is None:
            shim = folder / "bin" / "magick"
            shim.write_text(_MAGICK_6.format(convert=_convert()))
            shim.chmod(0o755)
        self.environment = {
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "PICTRS__SERVER__ADDRESS": f"127.0.0.1:{self.port}",
            "PICTRS__SERVER__API_KEY": API_KEY,
            "PICTRS__SERVER__TEMPORARY_DIRECTORY": str(folder / "tmp"),
            "PICTRS__REPO__TYPE": "sled",
            "PICTRS__REPO__PATH": str(folder / "sled"),
            **(store or {"PICTRS__STORE__TYPE": "filesystem", "PICTRS__STORE__PATH": str(self.files)}),
            **(settings or {}),
        }
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=_PATIENCE_S, trust_env=False)

    def start(self) -> None:
        """Return when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [_program(self.version), "run"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        pause = threading.Event()
        for _ in range(_START_TRIES):
            if self._process.poll() is not None:
                break
            try:
                if self._client.get("/healthz").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            pause.wait(0.02)
        self.stop()
        raise AssertionError(f"pict-rs {self.version} did not start:\n{self.log()}")

    def stop(self, *, gently: bool = False) -> None:
        """End it; its data stays, but sled may lose the last half second if it is not done gently."""
        if self._process is not None:
            if gently:
                self._process.terminate()
            else:
                self._process.kill()
            self._process.wait()
            self._process = None

    def change(self, **settings: str) -> None:
        """Other environment variables from the next start on."""
        self.environment.update(settings)

    def forget(self, *names: str) -> None:
        """Start without these environment variables from now on."""
        for name in names:
            self.environment.pop(name, None)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._client.close()

    def log(self) -> str:
        """What it wrote so far, without colours."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return re.sub(r"\x1b\[[0-9;]*m", "", text)

    def upload(self, data: bytes, media_type: str = "image/png") -> httpx.Response:
        """Upload a file as Lemmy does.

        On a busy machine pict-rs 0.5.25 now and then gets nothing from the programs that it calls, and answers
        ``command-failure`` before it asks any hook; the same file then goes through when it is uploaded once more.
        """
        for _ in range(_UPLOAD_TRIES):
            answer = self._client.post("/image", files={"images[]": ("picture", data, media_type)})
            if answer.json().get("code") != "command-failure":
                break
        return answer

    def get(self, path: str, **parameters: str) -> httpx.Response:
        """Ask a public route; with ``parameters`` or with a query in ``path``."""
        return self._client.get(path, params=parameters or None)

    def internal(self, method: str, path: str, **parameters: str) -> httpx.Response:
        """Ask one of the routes that need the API key."""
        return self._client.request(method, f"/internal/{path}", params=parameters, headers={"X-Api-Token": API_KEY})


def bucket_store(endpoint: str, bucket: str, access_key: str, secret_key: str) -> dict[str, str]:
    """The variables for a store in a bucket."""
    return {
        "PICTRS__STORE__TYPE": "object_storage",
        "PICTRS__STORE__ENDPOINT": endpoint,
        "PICTRS__STORE__BUCKET_NAME": bucket,
        "PICTRS__STORE__USE_PATH_STYLE": "true",
        "PICTRS__STORE__REGION": "us-east-1",
        "PICTRS__STORE__ACCESS_KEY": access_key,
        "PICTRS__STORE__SECRET_KEY": secret_key,
    }


def told(answer: httpx.Response) -> tuple[int, str]:
    """The status and the code that pict-rs gives with it; no code when the upload was accepted."""
    return answer.status_code, answer.json().get("code", "")


def alias(answer: httpx.Response) -> str:
    """The name in URLs that pict-rs has given to an accepted upload."""
    assert answer.status_code == httpx.codes.CREATED, answer.text
    return answer.json()["files"][0]["file"]
