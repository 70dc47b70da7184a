"""Admins with a storage each: the command in its own process, and the server's own word on what was asked of it."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.admin import Admin, kill_the_rest
from support.scan.passes import LONG_AGO, keys_in
from support.servers.pictrs_process import COMING
from support.servers.pictrs_repos import REPOS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.servers.swift import SwiftServer

#: Where Debian, Fedora and others keep the stand-alone SFTP server, which can write what it is asked into a log.
_SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")
_OPENED = re.compile(r'open "(.*)" flags READ ')


def pytest_itemcollected(item: pytest.Item) -> None:
    """The coming version of pict-rs is built, and tested, before a release."""
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    if any(isinstance(value, str) and REPOS.get(value, (value,))[0] == COMING for value in values):
        item.add_marker(pytest.mark.slow)


@dataclass
class Bucket:
    """A bucket seen from the server's side."""

    server: SwiftServer
    name: str
    client: Any

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def present(self) -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return {item["Key"] for page in pages for item in page.get("Contents", ())}

    def reads(self) -> list[str]:
        """Paths of objects that were downloaded since this was last asked; listings are no downloads."""
        begin = f"/{self.name}/"
        asked = [path for method, path in self.server.requests() if method == "GET" and path.startswith(begin)]
        self.server.clear_requests()
        return [path for path in asked if path.partition("?")[0] != begin]


@dataclass
class Folder:
    """A folder behind an SSH server. ``log`` is the SFTP server's own, where the account is one that it can write for."""

    root: Path
    write: Callable[..., None]
    log: Path | None

    def put(self, key: str, data: bytes) -> None:
        self.write(key, data, LONG_AGO)

    def present(self) -> set[str]:
        return keys_in(self.root)

    def reads(self) -> list[str] | None:
        """Paths opened for reading since this was last asked; None where the server cannot tell."""
        if self.log is None:
            return None
        opened = _OPENED.findall(self.log.read_text(errors="replace")) if self.log.exists() else []
        self.log.write_text("")
        return opened


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    yield
    kill_the_rest()


@pytest.fixture
def admin_on_s3(swift: SwiftServer, bucket: str, tmp_path: Path) -> tuple[Admin, Bucket]:
    """An admin whose pict-rs writes to a bucket of its own on a real S3 server."""
    user, secret = swift.OWNER
    admin = Admin(
        tmp_path,
        {
            "OBJECT_STORAGE_ENDPOINT": swift.endpoint,
            "PICTRS_BUCKET": bucket,
            "AWS_ACCESS_KEY_ID": user,
            "AWS_SECRET_ACCESS_KEY": secret,
            "LEMMY_SAFETY_DETECTORS": "hashes",
        },
    )
    return admin, Bucket(swift, bucket, swift.client())


@pytest.fixture
def admin_on_ssh(tmp_path: Path):
    """A function that gives an admin whose pict-rs files lie behind a real OpenSSH server."""
    from support.servers.sshd import open_backend  # noqa: PLC0415 - paramiko, only for those who need it

    with contextlib.ExitStack() as stack:

        def make(account: str) -> tuple[Admin, Folder]:
            log, options = None, []
            if account == "ssh":
                server = next(path for path in _SFTP_SERVERS if Path(path).exists())
                log = tmp_path / "sftp.log"
                options = [f"Subsystem sftp exec {server} -e -l VERBOSE 2>>{log}"]
            place = stack.enter_context(open_backend(account, options))
            admin = Admin(
                tmp_path,
                {
                    "SSH_HOSTNAME": place.server.host,
                    "SSH_PORT": str(place.server.port),
                    "SSH_USERNAME": place.username,
                    "SSH_PRIVKEY": str(place.key),
                    "SSH_KNOWN_HOSTS": str(place.server.known_hosts),
                    "PICTRS_FILES_DIRECTORY": place.seen_root,
                    "LEMMY_SAFETY_DETECTORS": "hashes",
                },
            )
            return admin, Folder(place.root, place.put, log)

        yield make
