"""A real nginx for tests, with locations as the docs give them, in a folder of its own on a free loopback port."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Self

from support.servers.base import free_port, not_tested, program, wait_until_it_listens

ROOT = Path(__file__).resolve().parents[3]

_BLOCK = re.compile(r"^```nginx\n(.*?)^```$", re.MULTILINE | re.DOTALL)

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
    server {{
        listen 127.0.0.1:{port};
{locations}
    }}
}}
"""


def documented_location(document: str) -> str:
    """The one nginx block of a page in docs/."""
    (block,) = _BLOCK.findall((ROOT / "docs" / document).read_text(encoding="utf-8"))
    return block


def require_nginx() -> str:
    """The path of nginx; without one the test is skipped, or fails where CI promised one."""
    nginx = program("nginx")
    if nginx is None:
        not_tested("nginx is not installed (apt-get install nginx): THE DOCUMENTED PROXY IS NOT TESTED")
    return nginx


class Nginx:
    """nginx before a service on ``upstream_port``; the docs' port and log folder are replaced by the test's."""

    def __init__(self, folder: Path, locations: str, *, upstream_port: int, http: str = "") -> None:
        """``http``: what the docs give outside of a server."""
        self._nginx = require_nginx()
        self.folder = folder
        folder.mkdir()
        self.port = free_port()
        locations = re.sub(r"127\.0\.0\.1:(14051|8080)\b", f"127.0.0.1:{upstream_port}", locations)
        locations = locations.replace("/var/log/nginx/", f"{folder}/")
        self._file = folder / "nginx.conf"
        self._file.write_text(_CONFIGURATION.format(folder=folder, port=self.port, locations=locations, http=http))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [self._nginx, "-p", self.folder, "-e", self.folder / "error.log", "-c", self._file],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until_it_listens(self.port, self._process, self.logs)
        except AssertionError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def logs(self) -> str:
        """Everything that it wrote into its logs."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))
