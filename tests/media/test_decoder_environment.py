"""A decoding process inherits what an interpreter needs to start, and no secret."""

from __future__ import annotations

import sys

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.media import pictures
from support.media.breaking_decoders import break_or_decode

from lemmy_safety.errors import MediaError
from lemmy_safety.media import MediaLimits
from lemmy_safety.media.workers.environment import HANDED_ON, for_a_decoder
from lemmy_safety.media.workers.pool import ProcessDecoder
from lemmy_safety.settings import OPTIONS

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "s3cr3t-1", "DATABASE_URL": "postgresql://me:s3cr3t-2@host/db", "HOOK_SECRET": "s3cr3t-3",
    "SSH_PASSPHRASE": "s3cr3t-4", "HTTPS_PROXY": "http://me:s3cr3t-5@proxy", "HF_TOKEN": "s3cr3t-6",
    "SSH_AUTH_SOCK": "/s3cr3t-7", "PGPASSWORD": "s3cr3t-8", "Some_Other_Programs_Token": "s3cr3t-9",
    "CREDENTIALS_DIRECTORY": "/s3cr3t-10",
}  # fmt: skip


@pytest.mark.parametrize("workers", [1, 2])
def test_a_decoder_has_no_secret_in_its_environment(monkeypatch, workers) -> None:
    """As the system tells it of the running process, and it decodes all the same."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    limits = MediaLimits(max_bytes=1 << 20, max_pixels=1_000_000)
    decoder = ProcessDecoder(limits, workers=workers, timeout_s=30, memory_bytes=256 << 20, decode=break_or_decode)
    with decoder:
        assert decoder.decode(pictures.encode(pictures.shapes(seed=1), "png")).frames
        with pytest.raises(MediaError) as caught:
            decoder.decode(b"pid")
        inherited = psutil.Process(int(caught.value.reason)).environ()
    assert "s3cr3t" not in str(inherited)
    assert set(inherited) <= HANDED_ON | {"LC_CTYPE"}  # the interpreter itself sets that one, where no locale is


@given(st.dictionaries(st.sampled_from([*HANDED_ON, *SECRETS, "path", "PATHS", "LD_", ""]), st.text(max_size=9)))
def test_only_names_of_the_list_are_handed_on(environ) -> None:
    """With their values, whatever else there is."""
    kept = for_a_decoder(environ)
    assert kept.items() <= environ.items()
    assert set(environ) & HANDED_ON <= set(kept)
    assert {name.upper() if sys.platform == "win32" else name for name in kept} <= HANDED_ON


def test_no_setting_of_ours_is_handed_on() -> None:
    """Neither secret nor plain: a decoder is told all it needs with its task."""
    assert not HANDED_ON & {name for item in OPTIONS.values() for name in item.env}


def test_windows_gets_what_it_cannot_start_without() -> None:
    """Python's random numbers come from a library below SYSTEMROOT."""
    assert {"SYSTEMROOT", "PATH", "TEMP", "TMP", "WINDIR"} <= HANDED_ON
