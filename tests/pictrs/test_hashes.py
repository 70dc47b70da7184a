"""How pict-rs names bytes, in its three spellings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.pictrs.hashes import FORMATS, StoredHash

#: Of a JPEG that a real pict-rs 0.5.25 stored: as in a page, in an ETag, and as a slug.
HEX = "7d4410dfb2ed0f6d7d4c48b45904a94bc8d264b8a91fe42e9f59569330b311f40000000008d405"
ETAG = '"fUQQ37LtD219TEi0WQSpS8jSZLipH+Qun1lWkzCzEfQAAAAACNQF"'
SLUG = "fUQQ37LtD219TEi0WQSpS8jSZLipH-Qun1lWkzCzEfQAAAAACNQF"


def test_all_spellings_of_a_real_one_mean_the_same():
    stored = StoredHash.from_hex(HEX)
    assert stored == StoredHash.from_etag(ETAG) == StoredHash.from_base64(SLUG) == StoredHash.from_base64(stored.base64)
    assert stored.slug == SLUG
    assert (stored.sha256, stored.size, stored.format) == (HEX[:64], 2260, "jpeg")


@given(st.binary(min_size=39, max_size=39))
def test_any_39_bytes_survive_each_spelling(raw):
    stored = StoredHash(raw)
    assert StoredHash.from_hex(raw.hex()) == stored
    assert StoredHash.from_base64(stored.base64) == StoredHash.from_base64(stored.slug) == stored
    assert StoredHash.from_etag(f'"{stored.base64}"') == stored
    assert stored.format in {*FORMATS, ""}


@pytest.mark.parametrize("text", ["", "00", "00" * 38, "00" * 40, "zz" * 39, "00" * 38 + "0"])
def test_other_texts_are_no_hashes(text):
    with pytest.raises(ValueError, match=r"39 bytes|hex"):
        StoredHash.from_hex(text)


@pytest.mark.parametrize("text", ["", "AAAA", "A" * 51, "!" * 52])
def test_other_base64_is_no_hash(text):
    with pytest.raises(ValueError, match="a hash of pict-rs"):
        StoredHash.from_base64(text)


@pytest.mark.parametrize("header", ["", '"d41d8cd98f00b204e9800998ecf8427e"', ETAG.strip('"'), '"x', "*"])
def test_the_etag_of_another_server_is_none(header):
    assert StoredHash.from_etag(header) is None
