"""Nothing is opened but the bytes at hand, and nothing is printed."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys

import pytest
from support.media.moving_pictures import CODECS, scene, video
from support.media.video_looks import box, found, look, refusal

from lemmy_safety.errors import MediaError
from lemmy_safety.media.moving.video_streams import DEMUXERS
from lemmy_safety.records import ItemStatus


@pytest.fixture
def bait(tmp_path):
    """A video on the disk and a server that no one must call: what a hostile file could refer to."""
    path = tmp_path / "bait.mp4"
    path.write_bytes(video([scene(99)] * 3))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield str(path), f"http://127.0.0.1:{server.getsockname()[1]}/bait.mp4"
        with pytest.raises(BlockingIOError):
            server.accept()


def referring(address):
    """Texts that FFmpeg would take for videos made of other files."""
    return [
        f"ffconcat version 1.0\nfile '{address}'\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}\n#EXT-X-ENDLIST\n",
        f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>{address}</BaseURL></Period></MPD>',
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5004 RTP/AVP 96\na=control:{address}\n",
        f"{address}\n",
    ]


@pytest.mark.parametrize("kind", DEMUXERS)
def test_playlists_are_no_videos(kind, bait):
    """A text that refers to files or addresses opens nothing, whatever kind it is taken for."""
    for address in (*bait, "concat:" + bait[0], "subfile,,start,0,end,0,,:" + bait[0]):
        for text in referring(address):
            error = refusal(text.encode(), kind=kind)
            assert error.status is ItemStatus.UNREADABLE


def with_reference(data, path):
    """A QuickTime file whose frames are said to lie in another file (data reference of type alias, by its full path)."""
    name = path.encode()
    alias = bytes(10) + bytes([4]) + b"disk".ljust(27, b"\0") + bytes(12) + bytes([4]) + b"bait".ljust(63, b"\0")
    alias += bytes(16) + struct.pack(">HH", 0, 0) + bytes(16)
    alias += struct.pack(">HH", 2, len(name)) + name + b"\0" * (len(name) % 2) + struct.pack(">HH", 0xFFFF, 0)
    entry = box(b"alis", struct.pack(">I", 0) + alias)
    at = data.index(b"dref") - 4
    old = struct.unpack(">I", data[at : at + 4])[0]
    new = box(b"dref", struct.pack(">II", 0, 1) + entry)
    out = data[:at] + new + data[at + old :]
    for name_ in (b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        size_at = out.rindex(name_, 0, at + 4) - 4
        size = struct.unpack(">I", out[size_at : size_at + 4])[0] + len(new) - old
        out = out[:size_at] + struct.pack(">I", size) + out[size_at + 4 :]
    return out


def test_a_data_reference_is_not_followed(bait):
    """A QuickTime file that says its frames are in another file does not get that file's frames."""
    data = with_reference(video([scene(1)] * 3, CODECS["mov h264"]), bait[0])
    assert b"alis" in data
    try:
        media = look(data)
    except MediaError as error:
        refused = error
        assert refused.status is ItemStatus.UNREADABLE
        return
    assert not found(media)


def test_nothing_reaches_standard_error():
    """FFmpeg's complaints about broken files are not printed; what of them matters is in the result."""
    script = (
        "from support.media.moving_pictures import CODECS, drifting, video\n"
        "from lemmy_safety.media import MediaLimits, sniff\n"
        "from lemmy_safety.media.moving.video import decode_video\n"
        "data = bytearray(video(drifting(20), CODECS['mp4 h264']))\n"
        "data[len(data) // 2 : len(data) // 2 + 500] = bytes(500)\n"
        "media = decode_video(bytes(data), sniff.sniff(bytes(data)), MediaLimits(max_bytes=10**9, max_pixels=10**9))\n"
        "print([anomaly.kind.value for anomaly in media.info.anomalies])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "damaged" in done.stdout
