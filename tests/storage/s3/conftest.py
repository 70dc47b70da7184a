"""The S3 servers that run here. What only one of them does is said in the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.servers.s3 import S3Server


@pytest.fixture(params=["swift", "versitygw"])
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    return request.getfixturevalue(request.param)


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> str:
    """A new, empty bucket on it."""
    return s3_server.new_bucket()
