"""Archives, programs, documents and scripts inside and behind pictures are named."""

from __future__ import annotations

import pytest
from support.media import picture_blocks as blocks
from support.media import pictures
from support.media.hidden_pictures import (
    COVERS,
    FILE,
    GIF,
    JPEG,
    MP4,
    PNG,
    TRAILING,
    WEBP,
    hidden_in,
    kinds,
)
from support.media.hidden_samples import (
    ELF,
    PE,
    ZIP,
)

from lemmy_safety.media import sniff
from lemmy_safety.media.hidden.search import find_hidden

FILES = {
    "zip archive": ZIP,
    "RAR archive": b"Rar!\x1a\7\1\0" + bytes(range(60)),
    "7-Zip archive": b"7z\xbc\xaf\x27\x1c\0\4" + bytes(range(60)),
    "xz archive": b"\xfd7zXZ\0\0\4" + bytes(range(60)),
    "PDF document": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "Windows program": PE,
    "Unix program": ELF,
    "PHP script": b"<?php system($_GET['c']); ?>",
    "PHP archive": b"some stub __HALT_COMPILER(); ?>\r\n" + bytes(40),
    "web page": b"<!DOCTYPE html><html><script>alert(1)</script>",
}


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("cover", ["jpeg", "png", "gif", "webp"])
def test_a_file_of_another_kind_is_named(cover, name):
    """Archives, programs, documents, pages and scripts are named, behind the end and in metadata."""
    behind = hidden_in(COVERS[cover] + FILES[name])
    found = [anomaly for anomaly in behind.anomalies if anomaly.kind is FILE]
    assert any(name in anomaly.detail for anomaly in found)
    assert TRAILING in kinds(behind)
    assert behind.embedded == ()
    inside = {
        "jpeg": blocks.in_jpeg(JPEG, blocks.segment(0xFE, b"text " + FILES[name])),
        "png": blocks.in_png(PNG, blocks.text_chunk(b"Comment", FILES[name])),
        "gif": blocks.in_gif(GIF, blocks.gif_extension(0xFE, b"text " + FILES[name])),
        "webp": blocks.in_webp(WEBP, (b"XTRA", FILES[name])),
    }[cover]
    found = [anomaly for anomaly in hidden_in(inside).anomalies if anomaly.kind is FILE]
    assert any(name in anomaly.detail for anomaly in found)


def test_a_shell_script_behind_the_end_is_named():
    """A script that begins with its interpreter is one at the beginning of a stretch only."""
    (anomaly, _) = hidden_in(JPEG + b"#!/bin/sh\necho hello world\n").anomalies
    assert anomaly.detail == "a shell script behind the end of the picture"


@pytest.mark.parametrize(
    ("tail", "words"), [(b"\x1f\x8b\x08" + bytes(range(40)), "archive"), (b"ID3" + bytes(range(40)), "sound")]
)
def test_other_files_right_behind_the_end_are_named(tail, words):
    """What is known by its first bytes only is named where it begins at the end."""
    anomalies = hidden_in(JPEG + tail).anomalies
    assert any(words in anomaly.detail for anomaly in anomalies if anomaly.kind is FILE)


def test_an_archive_is_found_from_its_end():
    """A zip whose offsets count from the beginning of the picture, or from its own, has its place and size."""
    for data in (PNG + ZIP, blocks.zip_file(PNG)):
        anomaly = next(anomaly for anomaly in hidden_in(data).anomalies if anomaly.kind is FILE)
        assert (anomaly.offset, anomaly.size) == (len(PNG), len(ZIP))
    assert FILE not in kinds(hidden_in(PNG + b"PK\5\6" + bytes(18)))


def test_an_archive_in_picture_data_is_found_from_its_end():
    """A polyglot that keeps the archive within the picture's data is one, too."""
    data = blocks.in_png(PNG, pictures.png_chunk(b"IDAT", ZIP))
    assert kinds(hidden_in(data)) == [FILE]


def test_a_video_with_sound_or_an_archive_is_searched_for_archives():
    """Whatever the medium, an archive at its end is found."""
    assert FILE in kinds(hidden_in(MP4 + ZIP))
    assert FILE in kinds(find_hidden(b"FLV\1" + bytes(99) + ZIP, sniff.FLASH_VIDEO))
