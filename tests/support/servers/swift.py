"""A real S3 server for tests: OpenStack Swift with s3api, from pip, as one child process on a free port."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from support.servers.base import folder_with_xattrs, free_port
from support.servers.s3 import S3Server


class SwiftUnavailable(Exception):
    """Swift is not installed here, or this system cannot run it."""


class SwiftServer(S3Server):
    """Start, stop, kill and start again on the same data at the same address.

    ``requests()`` lists what clients asked of it since ``clear_requests()``, as (method, path?query), the path with
    its percent signs decoded and starting with ``/bucket/``.
    """

    OWNER: ClassVar = ("test:tester", "testing")
    READER: ClassVar = ("test:reader", "reading")

    def __init__(self) -> None:
        folder = folder_with_xattrs("swift")
        if folder is None:
            raise SwiftUnavailable("No folder here keeps user.* attributes.")
        super().__init__(free_port())
        self._folder = folder
        self._log = self._folder / "requests"
        self._errors = self._folder / "errors"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers.

        :raises SwiftUnavailable: it did not come up; the message holds its last words.
        """
        if self._process is not None:
            return
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-W",
                    "ignore",
                    "-P",  # this folder's own swift.py must not be found for Swift
                    Path(__file__).with_name("swift_process.py"),
                    self._folder,
                    str(self.port),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        if self._process.stdout.readline() != b"READY\n":
            self.kill()
            raise SwiftUnavailable(self._errors.read_text(errors="replace")[-2000:])

    def stop(self) -> None:
        """End it and remove its data."""
        super().stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """End it at once, as a crash would; the data stays."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def requests(self) -> list[tuple[str, str]]:
        if not self._log.exists():
            return []
        return [tuple(json.loads(line)) for line in self._log.read_text(encoding="utf-8").splitlines()]

    def clear_requests(self) -> None:
        # The server appends to the open file, so it goes on at the new end.
        os.truncate(self._log, 0)
