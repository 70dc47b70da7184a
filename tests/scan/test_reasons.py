"""What a pass says of the objects that it could not judge: in the log and in its summary."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import pytest
from support.breaking_decoders import break_or_decode

from lemmy_safety.fingerprints import sha256_of
from lemmy_safety.media import MediaLimits
from lemmy_safety.media.workers.pool import ProcessDecoder
from lemmy_safety.records import StoredObject
from lemmy_safety.scan.examine import examine
from lemmy_safety.scan.items import Fetched

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

LIMITS = MediaLimits(max_bytes=8 * 1024 * 1024, max_pixels=1_000_000)


def fetched(key: str, data: bytes) -> Fetched:
    obj = StoredObject(key=key, size=len(data), modified_at=datetime(2026, 1, 1, tzinfo=UTC))
    return Fetched(obj=obj, data=data, sha256=sha256_of(data))


@posix_only
@pytest.mark.parametrize("how", [b"sleep", b"loop", b"fill slowly"])
def test_the_log_names_the_object_on_which_a_decoder_broke(caplog, how) -> None:
    """A warning with key and reason, escaped, so that an admin can find the file."""
    decoder = ProcessDecoder(LIMITS, workers=1, timeout_s=3, memory_bytes=256 * 1024 * 1024, job=break_or_decode)
    with decoder, caplog.at_level(logging.WARNING, logger="lemmy_safety.scan"):
        result = examine(decoder, fetched("01/aa/odd\n.png", how))
    assert result.decoder_broke
    (line,) = [record.getMessage() for record in caplog.records if record.name == "lemmy_safety.scan.examine"]
    assert line == f"the decoder broke key='01/aa/odd\\n.png' reason={result.reason}"
