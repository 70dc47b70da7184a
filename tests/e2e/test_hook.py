"""The upload hook as its own process, asked as pict-rs asks; then a sweep over the storage that the uploads went to."""

from __future__ import annotations

import io
import re
import time

import pytest
from PIL import Image
from support.admin import eventually, free_port, stop
from support.media import moving_pictures
from support.storage.sample_store import sample_pictures
from support.web import pictrs_client

from lemmy_safety.detectors.hashes.canary import canary_image

pytestmark = pytest.mark.external_service

#: What a test prints is its account: status and latency of each upload, shown by pytest -s.

KEY = "01/9a/c3/3c/4e/17/7{:03x}/8b/22/aa/0123456789{:02x}.webp"


def png(image: Image.Image, **how) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", **how)
    return out.getvalue()


def webm_with_a_canary() -> bytes:
    """Three seconds of drifting scenery, the canary half a second long in the middle of it."""
    frames = moving_pictures.drifting(30, size=(320, 240))
    frames[14:19] = [canary_image().convert("RGB").resize((320, 240))] * 5
    return moving_pictures.video(frames, moving_pictures.CODECS["webm vp9"])


@pytest.fixture
def hook(admin_on_s3):
    """A function that starts the hook with settings on top, waits until it is ready, and gives a way to ask it."""
    admin, bucket = admin_on_s3
    started = []

    def start(**settings: str):
        port = free_port()
        admin.env.update({"HOOK_PORT": str(port), **settings})
        process = admin.start("serve")
        started.append(process)

        def ready() -> bool:
            try:
                return pictrs_client.get(port, "/ready").status == 200
            except OSError:
                return False

        eventually(ready, "the hook is ready", process=process)

        def ask(name: str, data: bytes, media_type: str) -> int:
            begun = time.perf_counter()
            answer = pictrs_client.ask(port, data, media_type=media_type)
            print(f"{name:<28} {len(data):>9,} bytes  {answer.status}  {(time.perf_counter() - begun) * 1000:.0f} ms")  # noqa: T201 - see above
            assert answer.body in (b"accepted", b"refused")
            return answer.status

        return ask, process

    yield admin, bucket, start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_what_the_hook_has_judged_is_read_once_and_not_judged_again(hook):
    """Harmless is accepted, canaries are refused, also inside a video; the sweep of the bucket then decodes nothing of it."""
    admin, bucket, start = hook
    harmless = [data for _, data in sample_pictures(4, seed=5)]
    ask, process = start()
    for number, data in enumerate(harmless):
        assert ask("harmless picture", data, "image/png") == 200
        bucket.put(KEY.format(number, number), data)
    assert ask("the same once more", harmless[0], "image/png") == 200
    assert ask("canary", png(canary_image()), "image/png") == 406
    assert ask("canary, small JPEG", _small_jpeg(), "image/jpeg") == 406
    assert ask("canary inside a webm", webm_with_a_canary(), "video/webm") == 406
    assert ask("unreadable file", b"not a picture at all, whatever it is called", "image/png") == 200
    bucket.put("pictures/unreadable.png", b"not a picture at all, whatever it is called")
    assert stop(process)[0] == 0, admin.log()

    bucket.reads()
    summary = admin.json("--all")
    print({name: summary[name] for name in ("seen", "checked", "reused", "flagged", "bytes_read", "unreadable")})  # noqa: T201 - same reason
    assert (summary["seen"], summary["checked"], summary["reused"], summary["flagged"]) == (5, 4, 4, 0)
    read = [path for path in bucket.reads() if "unreadable" not in path]
    assert len(read) == len(set(read)) == len(harmless)
    assert "canary" in admin.log()
    assert not re.search(r"Traceback|ERROR", admin.log())


def _small_jpeg() -> bytes:
    out = io.BytesIO()
    canary_image().convert("RGB").resize((400, 300)).save(out, "JPEG", quality=70)
    return out.getvalue()


def long_animation(frames: int = 150) -> bytes:
    """A WebP that takes seconds to decode on any machine: one large frame, again and again."""
    image = Image.effect_noise((240, 135), 90).convert("RGB").resize((1920, 1080))
    still = io.BytesIO()
    image.save(still, "WEBP", quality=40, method=0)
    picture = still.getvalue()[12:]
    assert picture.startswith(b"VP8 ")
    size = b"".join((side - 1).to_bytes(3, "little") for side in image.size)
    frame = riff_chunk(b"ANMF", bytes(6) + size + (100).to_bytes(3, "little") + bytes([0b10]) + picture)
    head = riff_chunk(b"VP8X", bytes([0b10, 0, 0, 0]) + size) + riff_chunk(b"ANIM", bytes(6))
    return riff_chunk(b"RIFF", b"WEBP" + head + frame * frames)


def riff_chunk(name: bytes, body: bytes) -> bytes:
    return name + len(body).to_bytes(4, "little") + body + bytes(len(body) % 2)


@pytest.mark.parametrize(("policy", "status"), [("accept", 200), ("refuse", 406)])
def test_without_a_verdict_in_time_the_policy_answers_and_nothing_is_forgotten(hook, policy, status):
    """What takes longer to decode than the budget, and a file that no one can read: accepted or refused as set."""
    admin, bucket, start = hook
    slow = long_animation()
    ask, process = start(HOOK_ON_FAILURE=policy, HOOK_BUDGET_S="0.5", LEMMY_SAFETY_MAX_MB="100")
    assert ask(f"over its budget, {policy}", slow, "image/webp") == status
    assert ask(f"unreadable, {policy}", b"GIF89a but nothing more", "image/gif") == status
    bucket.put("pictures/slow.webp", slow)
    stop(process)
    assert ("accepted unchecked" in admin.log()) == (policy == "accept")
    assert admin.json("--all")["checked"] == 1  # read and judged, or reused from the verdict that came late
