"""What the real S3 servers of the suite have in common: an address, two accounts, and buckets made by the owner's client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from support.servers.base import not_tested

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class S3Server:
    """A server on ``port`` of this machine, which a subclass starts, kills and starts again with the same data."""

    #: Access key and secret key; the reader may do only what a test grants.
    OWNER: ClassVar[tuple[str, str]]
    READER: ClassVar[tuple[str, str]]
    REGION: ClassVar = "us-east-1"

    def __init__(self, port: int) -> None:
        self.port = port
        self.endpoint = f"http://127.0.0.1:{port}"
        self._buckets = 0
        self._client: Any = None

    def start(self) -> None:
        """Return when it answers."""
        raise NotImplementedError

    def kill(self) -> None:
        """End it at once, as a crash would; the data stays."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it and remove its data."""
        self.kill()
        if self._client is not None:
            self._client.close()

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


def running(make: Callable[[], S3Server], name: str, unavailable: type[Exception]) -> Iterator[Any]:
    """The server while it is used; the test is skipped, in CI failed, where making or starting it says ``unavailable``."""
    server = None
    try:
        try:
            server = make()
            server.start()
        except unavailable as error:
            not_tested(f"NOT TESTED AGAINST A REAL S3 SERVER: {name} cannot be started: {error}")
        yield server
    finally:
        if server is not None:
            server.stop()
