"""What is appended to a healthy file is found, and a healthy file hides nothing."""

from __future__ import annotations

import pytest
from support.media import pictures
from support.media.files import ANIMATIONS, STILLS, VIDEOS, encode_video
from support.media.hidden_pictures import (
    AVIF,
    COVER,
    COVERS,
    FRAMES,
    JPEG,
    PICTURE,
    PNG,
    SECRET_JPEG,
    SECRET_PNG,
    SECRETS,
    TRAILING,
    hidden_in,
    kinds,
)

from lemmy_safety.media import sniff
from lemmy_safety.media.hidden.search import Content, find_hidden


@pytest.mark.parametrize("form", sorted(STILLS))
def test_a_healthy_still_hides_nothing(form):
    """A still of any format, as our libraries write it, raises no alarm."""
    hidden = hidden_in(STILLS[form](COVER))
    assert (hidden.anomalies, hidden.embedded) == ((), ())


@pytest.mark.parametrize("form", sorted(ANIMATIONS))
def test_a_healthy_animation_hides_nothing(form):
    """An animation of any format raises no alarm."""
    assert hidden_in(ANIMATIONS[form](FRAMES, [125] * 8)).anomalies == ()


@pytest.mark.parametrize("form", sorted(VIDEOS))
def test_a_healthy_video_hides_nothing(form):
    """A video of any container raises no alarm."""
    assert hidden_in(encode_video(FRAMES, [125] * 8, VIDEOS[form])).anomalies == ()


@pytest.mark.parametrize("name", sorted(pictures.PHOTOS))
def test_a_photo_hides_nothing(name):
    """Photos with their noise hold nothing that looks like a picture by chance."""
    for form in ("jpeg", "png"):
        assert hidden_in(pictures.encode(pictures.photo(name), form)).anomalies == ()


@pytest.mark.parametrize("secret", sorted(SECRETS))
@pytest.mark.parametrize("cover", sorted(COVERS))
def test_what_is_appended_is_found(cover, secret):
    """Any picture or video behind the end of any picture is named with its place and size, and handed out as it is."""
    data, end = COVERS[cover] + SECRETS[secret], len(COVERS[cover])
    hidden = hidden_in(data)
    assert set(kinds(hidden)) == {TRAILING, PICTURE}
    assert {(anomaly.offset, anomaly.size) for anomaly in hidden.anomalies} == {(end, len(SECRETS[secret]))}
    (embedded,) = hidden.embedded
    assert (embedded.offset, bytes(embedded.data)) == (end, SECRETS[secret])
    assert embedded.kind is sniff.sniff(SECRETS[secret])
    assert embedded.what is (Content.VIDEO if secret in ("mp4", "webm") else Content.PICTURE)


@pytest.mark.parametrize("form", ["mp4 h264", "mp4 h264 fragmented", "mov h264", "webm vp8", "mkv h264"])
def test_what_is_appended_to_a_video_is_found(form):
    """A picture behind the end of a video is found."""
    video = encode_video(FRAMES, [125] * 8, VIDEOS[form])
    (embedded,) = hidden_in(video + SECRET_JPEG).embedded
    assert (embedded.offset, bytes(embedded.data)) == (len(video), SECRET_JPEG)


def test_a_picture_behind_a_truncated_one_is_found():
    """A JPEG that was cut off ends where the next one begins, so that the second one is found."""
    (embedded,) = hidden_in(JPEG[:-30] + SECRET_JPEG).embedded
    assert bytes(embedded.data) == SECRET_JPEG


def test_two_pictures_behind_the_end_are_two():
    """Each of several appended pictures is handed out for itself, whatever lies between them."""
    data = JPEG + bytes(100) + SECRET_PNG + b"something between the two of them" + SECRET_JPEG
    hidden = hidden_in(data)
    assert kinds(hidden) == [TRAILING, PICTURE, PICTURE]
    assert {bytes(embedded.data) for embedded in hidden.embedded} >= {SECRET_PNG}
    assert {embedded.offset for embedded in hidden.embedded} == {data.index(SECRET_PNG), data.index(SECRET_JPEG)}


@pytest.mark.parametrize("cover", sorted(COVERS))
@pytest.mark.parametrize("tail", [b"\n", b"\r\n", b"\xff\xd9", bytes(512), b"\xff" * 70_000, b" " * 40, b"x" * 15])
def test_padding_behind_the_end_is_nothing(cover, tail):
    """Line ends, doubled end markers, sectors of zeros and fewer than 16 bytes are no anomaly."""
    hidden = hidden_in(COVERS[cover] + tail)
    assert (hidden.anomalies, hidden.embedded) == ((), ())


def test_sixteen_bytes_behind_the_end_are_an_anomaly():
    """From 16 bytes on that say something, offset and size of them are recorded."""
    (anomaly,) = hidden_in(PNG + b"0123456789abcdef").anomalies
    assert (anomaly.kind, anomaly.offset, anomaly.size) == (TRAILING, len(PNG), 16)
    assert anomaly.detail == "16 bytes behind the end of the picture"


def test_an_appended_sequence_does_not_make_a_still_move():
    """Of two AVIF files in one the first decides."""
    data = AVIF + pictures.encode_animation(FRAMES, "avif")
    assert not sniff.is_animated(data, sniff.AVIF)
    assert [embedded.offset for embedded in hidden_in(data).embedded] == [len(AVIF)]


def test_a_bare_codestream_is_known_at_the_end_only():
    """A JPEG XL without boxes is found right behind the end, by its first bytes, and nowhere else."""
    if "jxl" not in STILLS:
        pytest.skip("without the jxl extra no JPEG XL can be written")
    codestream = STILLS["jxl"](pictures.shapes(48, 32))
    assert codestream.startswith(b"\xff\x0a")
    hidden = hidden_in(JPEG + codestream)
    assert [bytes(embedded.data) for embedded in hidden.embedded] == [codestream]
    assert hidden.anomalies[0].detail.endswith("by its first bytes")
    assert hidden_in(JPEG + b"some text in front of it" + codestream).embedded == ()
    assert hidden_in(codestream).anomalies == ()


def test_bytes_of_no_kind_are_searched_from_the_first_one():
    """A picture behind junk is one in a file that no viewer shows."""
    (embedded,) = hidden_in(b"\n" + SECRET_JPEG).embedded
    assert (embedded.offset, bytes(embedded.data)) == (1, SECRET_JPEG)
    assert len(find_hidden(SECRET_JPEG, sniff.UNKNOWN).embedded) == 1
