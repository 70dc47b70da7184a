"""What a file calls itself decides nothing: tracks that players find are looked at, and only what has none is refused."""

from __future__ import annotations

import io
import itertools
import struct

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.media import picture_blocks as blocks
from support.media import pictures
from support.media.moving_pictures import CODECS, animation, drifting, scene, shows, video

from lemmy_safety.errors import MediaError
from lemmy_safety.media import MediaLimits, decode, sniff
from lemmy_safety.media.deadline import Deadline
from lemmy_safety.media.moving.video import decode_video
from lemmy_safety.records import AnomalyKind, ItemStatus

LIMITS = MediaLimits(max_bytes=50_000_000, max_pixels=50_000_000)
FRAMES = drifting(6, seed=5)
MP4 = video(FRAMES)
FILE_TYPE_SIZE = struct.unpack(">I", MP4[:4])[0]


def moved(data, by):
    """An MP4 whose table of places is right again after bytes were put before it, or taken away."""
    moved_ = bytearray(data)
    at = -1
    while (at := moved_.find(b"stco", at + 1)) >= 0:
        for number in range(struct.unpack(">I", moved_[at + 8 : at + 12])[0]):
            place = at + 12 + 4 * number
            offset = struct.unpack(">I", moved_[place : place + 4])[0]
            moved_[place : place + 4] = struct.pack(">I", offset + by)
    return bytes(moved_)


def behind(prefix, data=MP4):
    return prefix + moved(data, len(prefix))


def branded(brand, *others):
    """The MP4 under another major brand, with that one and others as the compatible ones."""
    names = [brand, *others]
    room = (FILE_TYPE_SIZE - 16) // 4
    return MP4[:8] + brand + MP4[12:16] + b"".join((names * room)[:room]) + MP4[FILE_TYPE_SIZE:]


BARE = moved(MP4[FILE_TYPE_SIZE:], -FILE_TYPE_SIZE)


def is_looked_at(data):
    media = decode(data, LIMITS)
    return any(shows(frame.pixels, scene(5)) for frame in media.frames)


# Each of these plays in Chromium 156.
BRANDS = (
    *(
        b"M4A ",
        b"M4B ",
        b"M4P ",
        b"heic",
        b"mif1",
        b"msf1",
        b"crx ",
        b"jp2 ",
        b"jxl ",
        b"avif",
        b"avis",
        b"3gp4",
        b"f4a ",
    ),
    *(bytes(4), b"XXXX", b"\xff\xfe\xfd\xfc"),
)


@pytest.mark.parametrize(
    "brand",
    BRANDS,
)
def test_a_video_is_looked_at_whatever_its_brand(brand):
    """Brands of sound files, of pictures, of cameras and of nothing are names; the tracks are what plays."""
    assert is_looked_at(branded(brand))


@pytest.mark.parametrize(
    "name", [b"udta", b"meta", b"junk", b"XXXX", b"Exif", b"free", b"mdat", bytes(4), b"\xff\xfe\1\2"]
)
@pytest.mark.parametrize("rest", [MP4, BARE], ids=["with a file type", "without"])
def test_a_video_is_looked_at_behind_a_box_of_any_name(name, rest):
    """Players pass over what they do not know; so does the search for tracks, also where the name is no text."""
    assert is_looked_at(behind(blocks.box(name, bytes(20)), rest))


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.builds(
            lambda name, size, wide: (
                (struct.pack(">I4sQ", 1, name, 16 + size) if wide else struct.pack(">I4s", 8 + size, name))
                + bytes(size)
            ),
            st.binary(min_size=4, max_size=4) | st.sampled_from([b"udta", b"wide", b"ftyp", b"mdat", b"uuid", b"jP  "]),
            st.integers(min_value=16, max_value=600),
            st.booleans(),
        ),
        max_size=4,
    ),
    st.sampled_from([MP4, BARE, branded(b"M4A "), branded(b"heic", b"avif")]),
)
def test_no_boxes_before_the_tracks_hide_them(before, rest):
    """Whatever boxes come first, with lengths of four or eight bytes, the video behind them is found."""
    assert is_looked_at(behind(b"".join(before), rest))


@pytest.mark.parametrize(
    "prefix",
    [
        b"\0\0\0\x0cJXL \r\n\x87\n",
        b"\0\0\0\x0cjP  \r\n\x87\n",
        b"\0\0\1\0\1\0\x10\x10" + bytes(248),
        b"\0\0\2\0\1\0\x10\x10" + bytes(504),
        b"\0\0\1\xba\x44\0\4\0" + bytes(0x1BA - 8),
        b"\0\0\1\xb3\x10\0\x10\x13" + bytes(0x1B3 - 8),
        struct.pack(">I4sQ", 1, b"free", 40) + bytes(24),
        blocks.box(b"ftyp", b"M4A ", bytes(4), b"M4A "),
        blocks.box(b"ftyp", b"avif", bytes(4), b"avif"),
        blocks.box(b"free") * 1_001,
        blocks.box(b"free") * 100_001,
    ],
    ids=[
        "jxl",
        "jp2",
        "icon",
        "cursor",
        "mpeg",
        "mpeg without container",
        "long box",
        "sound",
        "avif",
        "free",
        "crowded",
    ],
)
def test_a_video_behind_the_signature_of_something_else_is_looked_at(prefix):
    """What a picture or another video begins with can be a box, too, which players pass over."""
    assert is_looked_at(behind(prefix))


@pytest.mark.parametrize("name", [b"free", b"hoov"])
def test_a_movie_under_another_name_is_looked_at(name):
    """FFmpeg, and so Chromium, opens some boxes of other names that hold a movie."""
    assert is_looked_at(MP4.replace(b"moov", name))
    assert is_looked_at(branded(b"M4A ").replace(b"moov", name))


def test_an_icon_that_is_also_a_video_is_looked_at_as_both():
    """Pages show the icon, players the video; the odd one is said."""
    stored = io.BytesIO()
    scene(1, (64, 64)).save(stored, "ICO", sizes=[(64, 64)])
    icon = stored.getvalue()
    assert len(icon) > 256
    # The icon's first four bytes are the length of a box of 256 bytes; the next one holds the rest of its picture.
    directory = icon[:18] + struct.pack("<I", 264)
    data = behind(directory + bytes(256 - len(directory)) + blocks.box(b"skip", icon[22:]))
    media = decode(data, LIMITS)
    assert any(shows(frame.pixels, scene(5)) for frame in media.frames if frame.view)
    assert media.info.media_type == sniff.ICON.media_type
    assert AnomalyKind.EMBEDDED_PICTURE in {anomaly.kind for anomaly in media.info.anomalies}


@pytest.mark.parametrize("name", [b"foob", b"\0\0\0\0", b"mp3 "])
def test_a_matroska_file_is_looked_at_whatever_it_calls_itself(name):
    """The name of the kind in its header is for people; a file that is appended to another one is found as well."""
    data = video(FRAMES, CODECS["webm vp8"]).replace(b"webm", name, 1)
    assert is_looked_at(data)
    assert is_looked_at(pictures.encode(scene(1), "jpeg") + data)


def test_an_appended_video_with_the_brand_of_a_sound_file_is_looked_at():
    """Behind a picture, too, a brand decides nothing, nor does the size of the box that it is in."""
    cover = pictures.encode(scene(1), "png")
    for brands in (4, 5, 2_000):
        box = blocks.box(b"ftyp", b"M4A ", bytes(4), b"M4A " * brands, b"odd"[: brands % 2])
        assert is_looked_at(cover + box + moved(BARE, len(box)))


def test_tracks_behind_a_picture_may_count_from_its_beginning():
    """A video that is appended to an AVIF is played from the whole file, or cut out of it: one of the two is right."""
    cover = pictures.encode(scene(1), "avif")
    assert is_looked_at(cover + MP4)
    assert is_looked_at(behind(cover))


def sound(pictures_=(), container="mp4"):
    """A sound file, or a video whose first stream is its sound."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream("aac", rate=48_000)
        stream.layout = "mono"
        shown = file.add_stream("libx264", rate=25) if pictures_ else None
        if shown is not None:
            shown.width, shown.height = pictures_[0].size
            shown.pix_fmt = "yuv420p"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4_800), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
        for picture in pictures_:
            file.mux(shown.encode(av.VideoFrame.from_image(picture)))
        if shown is not None:
            file.mux(shown.encode(None))
    return out.getvalue()


@pytest.mark.parametrize("brand", [b"M4A ", b"isom"])
def test_a_video_behind_its_sound_is_looked_at_and_is_not_damaged(brand):
    """Which stream comes first means nothing."""
    data = sound(FRAMES)
    media = decode(data[:8] + brand + data[12:], LIMITS)
    assert shows(media.frames[0].pixels, scene(5))
    assert (media.info.frame_count, media.info.anomalies) == (len(FRAMES), ())


@pytest.mark.parametrize("brand", [b"M4A ", b"isom", b"XXXX"])
def test_what_has_sound_only_is_no_picture(brand):
    """A sound file is refused after a look at its tracks; nothing of it was judged."""
    data = sound()
    with pytest.raises(MediaError) as caught:
        decode(data[:8] + brand + data[12:], LIMITS)
    assert caught.value.status is ItemStatus.UNREADABLE
    assert "sound file" in caught.value.reason or "no video in it" in caught.value.reason


def test_an_mp4_with_a_codec_that_is_not_decoded_is_unsupported_under_any_brand():
    """That a video cannot be decoded is said of it, also where it calls itself a sound file."""
    data = branded(b"M4A ").replace(b"avc1", b"zzzz")
    with pytest.raises(MediaError) as caught:
        decode(data, LIMITS)
    assert caught.value.status is ItemStatus.UNSUPPORTED


def test_a_video_that_is_too_large_is_too_large_under_any_brand():
    """The limits are those of the video."""
    with pytest.raises(MediaError) as caught:
        decode(branded(b"M4A "), MediaLimits(max_bytes=10**6, max_pixels=1_000))
    assert caught.value.status is ItemStatus.TOO_LARGE


def with_another_still(sequence, still):
    """An animated AVIF whose still picture, beside the track, is that of another file."""
    payload = still[still.index(b"mdat") + 4 :]
    at = sequence.index(b"iloc") + 8
    assert sequence[at : at + 2] == b"\x44\x00"  # offsets and lengths of four bytes, none of them relative
    extent = at + 2 + 2 + 2 + 2 + 2
    place = struct.pack(">II", len(sequence) + 8, len(payload))
    return sequence[:extent] + place + sequence[extent + 8 :] + blocks.box(b"mdat", payload)


def test_the_still_picture_of_an_animated_avif_is_looked_at():
    """Viewers that do not play, and programs that make thumbnails, show it; it need not be in the track."""
    sequence = animation([scene(number) for number in range(3)], "avif")
    still = pictures.encode(scene(5), "avif", speed=10)
    assert not is_looked_at(sequence)
    data = with_another_still(sequence, still)
    media = decode(data, LIMITS)
    assert sniff.is_animated(data, sniff.AVIF)
    assert [frame.view for frame in media.frames if shows(frame.pixels, scene(5))] == ["thumbnail at byte 0"]
    assert AnomalyKind.OTHER_THUMBNAIL in {anomaly.kind for anomaly in media.info.anomalies}
    untouched = decode(sequence, LIMITS)
    assert {frame.view for frame in untouched.frames} == {""}
    assert untouched.info.anomalies == ()


@pytest.mark.long
def test_a_header_without_an_end_is_given_up_when_the_time_is():
    """Millions of boxes are read in one call of FFmpeg; it ends with the deadline, and nothing follows for the file."""
    clock = itertools.chain([0.0], itertools.repeat(21.0))
    deadline = Deadline(20, lambda: next(clock))
    data = behind(blocks.box(b"free") * 300_000)
    with pytest.raises(MediaError) as caught:
        decode_video(data, sniff.MP4, LIMITS, deadline=deadline)
    assert (caught.value.status, caught.value.decoder_broke) == (ItemStatus.UNREADABLE, True)
    assert caught.value.reason == "an MP4 video that cannot be decoded: its header could not be read within 20 s"
    assert is_looked_at(data)


def sound_with_attachments(*attached):
    """A Matroska file with a tenth of a second of sound, and files attached to it."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("libopus", rate=48_000)
        for name, media_type, data in attached:
            container.add_attachment(name, media_type, data)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 4_800), np.int16), format="s16", layout="stereo")
        silence.rate, silence.pts = 48_000, 0
        for frame in (silence, None):
            container.mux(stream.encode(frame))
    return file.getvalue()


PNG = ("one.png", "image/png", pictures.encode(pictures.shapes(seed=1), "png"))
JPEG = ("two.jpg", "image/jpeg", pictures.encode(pictures.shapes(seed=2), "jpeg"))
TEXT = ("notes.txt", "text/plain", b"some notes")


@pytest.mark.parametrize("attached", [(PNG,), (JPEG,), (PNG, JPEG), (TEXT, PNG), (JPEG, TEXT)])
def test_a_file_whose_only_pictures_are_attachments_is_not_called_damaged(attached):
    """They are embedded pictures, and each of them is judged."""
    media = decode(sound_with_attachments(*attached), LIMITS)
    wanted = [data for _, media_type, data in attached if media_type.startswith("image")]
    assert {anomaly.kind for anomaly in media.info.anomalies} == {AnomalyKind.EMBEDDED_PICTURE}
    assert [anomaly.detail for anomaly in media.info.anomalies if "attachments" in anomaly.detail] != []
    assert len({frame.view for frame in media.frames}) == len(wanted)
