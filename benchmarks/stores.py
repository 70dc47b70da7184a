"""Real storages to sweep: a folder, the same behind an OpenSSH server, a bucket on OpenStack Swift; those of the test suite."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.scan.passes import LONG_AGO
from support.servers.sshd import open_backend
from support.servers.swift import SwiftServer
from support.storage.backends import LocalBackend, SwiftBackend

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KINDS = ("local", "ssh", "s3")


@contextmanager
def filled_store(kind: str, objects: Iterable[tuple[str, bytes]]) -> Iterator[dict[str, Any]]:
    """A new storage of one of ``KINDS`` with these objects, (key, bytes), in it; the settings that lead to it."""
    if kind == "s3":
        server = SwiftServer()
        server.start()
        try:
            backend = SwiftBackend(server, server.new_bucket())
            _fill(backend, objects)
            user, secret = server.OWNER
            yield {
                "storage": kind,
                "s3_endpoint": server.endpoint,
                "s3_bucket": backend.bucket,
                "s3_access_key": user,
                "s3_secret_key": secret,
                "s3_region": server.REGION,
            }
        finally:
            server.stop()
    elif kind == "ssh":
        with open_backend("ssh") as backend:
            _fill(backend, objects)
            yield {
                "storage": kind,
                "ssh_hostname": backend.server.host,
                "ssh_port": backend.server.port,
                "ssh_username": backend.username,
                "ssh_privkey": backend.key,
                "ssh_known_hosts": backend.server.known_hosts,
                "files_directory": str(backend.root),
            }
    else:
        with tempfile.TemporaryDirectory(prefix="lemmy-safety-") as folder:
            _fill(LocalBackend(Path(folder)), objects)
            yield {"storage": kind, "files_directory": folder}


def _fill(backend: LocalBackend | SwiftBackend, objects: Iterable[tuple[str, bytes]]) -> None:
    for key, data in objects:
        backend.put(key, data, LONG_AGO)
