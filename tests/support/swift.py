"""A real S3 server for tests: OpenStack Swift with s3api, from pip, as one child process on a free port."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from support.servers import free_port


class SwiftUnavailable(Exception):
    """Swift is not installed here, or this system cannot run it."""


class SwiftServer:
    """Start, stop, kill and start again on the same data at the same address.

    ``requests()`` lists what clients asked of it since ``clear_requests()``, as (method, path?query), the path with
    its percent signs decoded and starting with ``/bucket/``.
    """

    OWNER: ClassVar = ("test:tester", "testing")
    READER: ClassVar = ("test:reader", "reading")
    REGION: ClassVar = "us-east-1"

    def __init__(self) -> None:
        self._folder = _folder_with_xattrs()
        self._log = self._folder / "requests"
        self._errors = self._folder / "errors"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._buckets = 0
        self._client: Any = None

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
        self.kill()
        if self._client is not None:
            self._client.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """End it at once, as a crash would; the data stays."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def client(self) -> Any:
        """The owner's boto3 client, one for all, for tests to work around our code."""
        if self._client is None:
            import boto3  # noqa: PLC0415 - half a second, for those who need it
            from botocore.config import Config  # noqa: PLC0415

            self._client = boto3.session.Session(*self.OWNER).client(
                "s3",
                endpoint_url=self.endpoint,
                region_name=self.REGION,
                config=Config(s3={"addressing_style": "path"}, max_pool_connections=16),
            )
        return self._client

    def new_bucket(self) -> str:
        self._buckets += 1
        name = f"pictrs-{self._buckets}"
        self.client().create_bucket(Bucket=name)
        return name

    def requests(self) -> list[tuple[str, str]]:
        if not self._log.exists():
            return []
        return [tuple(json.loads(line)) for line in self._log.read_text(encoding="utf-8").splitlines()]

    def clear_requests(self) -> None:
        # The server appends to the open file, so it goes on at the new end.
        os.truncate(self._log, 0)


def _folder_with_xattrs() -> Path:
    """A new short-named folder on a file system that keeps user attributes, where Swift stores its metadata."""
    if not hasattr(os, "setxattr"):
        raise SwiftUnavailable("Swift needs Linux.")
    for place in (tempfile.gettempdir(), os.environ.get("HOME", ""), str(Path.cwd())):
        if not place:
            continue
        folder = Path(tempfile.mkdtemp(prefix="swift", dir=place))
        try:
            os.setxattr(folder, "user.try", b"1")
        except OSError:
            folder.rmdir()
            continue
        return folder
    raise SwiftUnavailable("No folder here keeps user.* attributes.")
