"""Both decoders: in this process, and in three others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.media.breaking_decoders import break_or_decode
from support.media.decoder_processes import (
    LIMITS,
    process_decoder,
)

from lemmy_safety.media import InlineDecoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.media import Decoder
    from lemmy_safety.media.workers.pool import ProcessDecoder


@pytest.fixture(scope="module")
def inline() -> InlineDecoder:
    return InlineDecoder(LIMITS)


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessDecoder]:
    """Three, each of which gives a medium three seconds."""
    with process_decoder(workers=3, timeout_s=3, decode=break_or_decode) as decoder:
        yield decoder


@pytest.fixture(params=["inline", pytest.param("processes", marks=pytest.mark.process)])
def decoder(request) -> Decoder:
    """Either decoder."""
    return request.getfixturevalue(request.param)
