"""A second real S3 server for tests: versitygw, which keeps objects as files in folders, on a free port.

``scripts/build_versitygw.sh`` builds the program into the cache folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, ClassVar

from support.servers.base import folder_with_xattrs, free_port, server_builds, wait_until_it_listens
from support.servers.s3 import S3Server

if TYPE_CHECKING:
    from pathlib import Path

#: What the gate builds.
VERSION = "1.8.0"


class VersitygwUnavailable(Exception):
    """versitygw was not built here, or this system cannot run it."""


class Versitygw(S3Server):
    """Start, stop, kill and start again on the same data at the same address."""

    OWNER: ClassVar = ("owner-of-the-store", "secret-of-the-owner")
    READER: ClassVar = ("reader-of-the-store", "secret-of-the-reader")

    def __init__(self) -> None:
        if not _program().is_file():
            raise VersitygwUnavailable(f"{_program()} does not exist (bash scripts/build_versitygw.sh)")
        folder = folder_with_xattrs("versitygw")
        if folder is None:
            raise VersitygwUnavailable("no folder here keeps user.* attributes")
        super().__init__(free_port())
        self._folder = folder
        #: Where a bucket is a folder, and an object a file.
        self.files = folder / "files"
        self._log = folder / "log"
        for made in (self.files, folder / "versions", folder / "accounts"):
            made.mkdir()
        access, secret = self.READER
        accounts = {"accessAccounts": {access: {"access": access, "secret": secret, "role": "user"}}}
        (folder / "accounts" / "users.json").write_text(json.dumps(accounts))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers.

        :raises VersitygwUnavailable: it did not come up; the message holds its last words.
        """
        if self._process is not None:
            return
        access, secret = self.OWNER
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(_program(), "--port", f"127.0.0.1:{self.port}", "--region", self.REGION, "--quiet"),
                    *("--iam-dir", self._folder / "accounts"),
                    *("posix", "--versioning-dir", self._folder / "versions", self.files),
                ],
                env={"PATH": os.environ["PATH"], "ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until_it_listens(self.port, self._process, lambda: self._log.read_text(errors="replace")[-2000:])
        except AssertionError as error:
            self.kill()
            raise VersitygwUnavailable(str(error)) from error

    def stop(self) -> None:
        """End it and remove its data."""
        super().stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """End it at once, as a crash would; the data stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _program() -> Path:
    return server_builds() / f"versitygw-{VERSION}" / "bin" / "versitygw"
