"""What a browser shows of damaged files, and whether that is judged: stills, animations and videos, seeded damage.

    python evaluation/shown_by_browsers.py --browser chromium --files 60
    python evaluation/shown_by_browsers.py --only avif --size 2000x1500 --keep /path/for/what/was/missed

For each form: of how many files the browser shows something, and how many of these are not judged (that is the figure that
counts: anyone who sends such a file is seen and not checked); of how many it shows nothing, and how many of these are judged
all the same. Shown is what has more than one colour in a hundredth of its pixels, at any of five moments of a video. The
browser is any build of Chromium; old ones bring old decoders, and what they show differs from what new ones do.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import suite  # noqa: F401
from machine import print_header
from PIL import Image
from support.media import damage, pictures
from support.media.moving_pictures import CODECS, drifting, video

from lemmy_safety.errors import MediaError
from lemmy_safety.media import MediaLimits, decode

LIMITS = MediaLimits(max_bytes=50_000_000, max_pixels=100_000_000)
_NAMES = ("astronaut", "coffee", "chelsea", "rocket", "retina")
#: What is damaged lies behind the first bytes, lest the browser be told of another kind of file.
_FIRST = 30
_PATIENCE_S = 600
#: A page with much more of pictures in it is given up by the browser.
_PAGE_BYTES = 32 * 1024 * 1024

Encoder = Callable[[Image.Image], bytes]


def _turning(file_format: str, image: Image.Image) -> bytes:
    return pictures.encode_animation([image.rotate(9 * number) for number in range(6)], file_format)


def _moving(codec: str, image: Image.Image) -> bytes:
    return video(drifting(30, seed=image.getpixel((9, 9))[0]), CODECS[codec])


#: By name: the media type and the encoder. Videos have a size of their own.
FORMS: dict[str, tuple[str, Encoder]] = {
    "jpeg": ("image/jpeg", partial(pictures.encode, file_format="jpeg")),
    "jpeg progressive": ("image/jpeg", partial(pictures.encode, file_format="jpeg", progressive=True)),
    "png": ("image/png", partial(pictures.encode, file_format="png")),
    "png interlaced": ("image/png", damage.interlaced_png),
    "gif": ("image/gif", partial(pictures.encode, file_format="gif")),
    "webp": ("image/webp", partial(pictures.encode, file_format="webp")),
    "webp lossless": ("image/webp", partial(pictures.encode, file_format="webp", lossless=True)),
    "avif": ("image/avif", partial(pictures.encode, file_format="avif")),
    "bmp": ("image/bmp", partial(pictures.encode, file_format="bmp")),
    "gif animation": ("image/gif", partial(_turning, "gif")),
    "png animation": ("image/png", partial(_turning, "apng")),
    "webp animation": ("image/webp", partial(_turning, "webp")),
    "avif animation": ("image/avif", partial(_turning, "avif")),
    "mp4 h264": ("video/mp4", partial(_moving, "mp4 h264")),
    "webm vp8": ("video/webm", partial(_moving, "webm vp8")),
    "webm vp9": ("video/webm", partial(_moving, "webm vp9")),
}

#: Answers for each address which share of what is shown has another colour than its first pixel; 0 where nothing is.
PAGE = """<!DOCTYPE html><body><script>
const files = FILES, answers = [];
const event = (what, names, seconds) => new Promise(done => {
  for (const name of names) what["on" + name] = () => done(name);
  setTimeout(done, 1000 * seconds);
});
function painted(what, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.min(200, width); canvas.height = Math.min(150, height);
  const context = canvas.getContext("2d");
  context.drawImage(what, 0, 0, canvas.width, canvas.height);
  const rgba = context.getImageData(0, 0, canvas.width, canvas.height).data;
  let other = 0;
  for (let at = 0; at < rgba.length; at += 4)
    if (rgba[at + 3] > 0 && [0, 1, 2].some(part => Math.abs(rgba[at + part] - rgba[part]) > 6)) other++;
  return other / (rgba.length / 4);
}
async function still(address) {
  const image = new Image();
  const loaded = event(image, ["load", "error"], 20);
  image.src = address;
  return await loaded == "load" && image.naturalWidth ? painted(image, image.naturalWidth, image.naturalHeight) : 0;
}
async function moving(address) {
  const video = document.createElement("video");
  video.muted = true; video.preload = "auto";
  const loaded = event(video, ["loadeddata", "error"], 8);
  video.src = address;
  if (await loaded != "loadeddata") return 0;
  let most = 0;
  for (const moment of [0, 0.3, 0.6, 0.9, 1.1]) {
    const sought = event(video, ["seeked", "error"], 3);
    video.currentTime = moment;
    await sought;
    most = Math.max(most, painted(video, video.videoWidth, video.videoHeight));
  }
  return most;
}
(async () => {
  for (const address of files) answers.push(await (address.startsWith("data:video") ? moving : still)(address));
  document.body.innerText = "ANSWERS" + JSON.stringify(answers) + "END";
})();
</script></body>"""


class Seen(NamedTuple):
    data: bytes
    shown: bool
    #: None when it is judged, else why not.
    refused: str | None


def main() -> None:
    options = parse()
    print_header("What browsers show of damaged files", {k: v for k, v in vars(options).items() if k != "keep"})
    print(f"browser:  {browser_version(options.browser)}\n")
    row = "{:<18}{:>8}{:>16}{:>16}{:>16}{:>16}"
    print(row.format("form", "files", "shown", "of it missed", "not shown", "of it judged"))
    for form in FORMS:
        if options.only in form:
            seen = compared(form, options)
            shown = [one for one in seen if one.shown]
            missed = [one for one in shown if one.refused]
            hidden = [one for one in seen if not one.shown]
            judged = sum(one.refused is None for one in hidden)
            print(row.format(form, len(seen), len(shown), len(missed), len(hidden), judged), flush=True)
            for number, one in enumerate(missed):
                print(f"  missed: {len(one.data)} bytes, {one.refused}")
                if options.keep is not None:
                    (options.keep / f"{form.replace(' ', '-')}-{options.seed}-{number}").write_bytes(one.data)


def compared(form: str, options: argparse.Namespace) -> list[Seen]:
    media_type, encode = FORMS[form]
    healthy = [encode(pictures.photo(name).convert("RGB").resize(options.size)) for name in _NAMES]
    rng = random.Random(options.seed)
    files = [damage.damaged(rng.choice(healthy), rng, first=_FIRST) for _ in range(options.files)]
    shares = shares_shown(options.browser, media_type, files)
    return [Seen(data, share > 0.01, refusal(data)) for data, share in zip(files, shares, strict=True)]


def refusal(data: bytes) -> str | None:
    try:
        decode(data, LIMITS)
    except MediaError as error:
        return f"{error.status.value}: {error.reason}"
    return None


def shares_shown(browser: str, media_type: str, files: Sequence[bytes]) -> list[float]:
    """Of each file the share of its pixels that the browser paints in another colour than the first one."""
    shares: list[float] = []
    page: list[bytes] = []
    for data in [*files, None]:
        if page and (data is None or sum(map(len, page)) + len(data) > _PAGE_BYTES):
            shares += shares_on(browser, media_type, page)
            page = []
        if data is not None:
            page.append(data)
    return shares


def shares_on(browser: str, media_type: str, files: Sequence[bytes]) -> list[float]:
    """As ``shares_shown``, of as many files as one page can hold."""
    addresses = [f"data:{media_type};base64,{base64.b64encode(data).decode()}" for data in files]
    # Sample photos and drawings of our own only; the page is the way to hand them to the browser.
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(PAGE.replace("FILES", json.dumps(addresses)), encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
        command += ["--virtual-time-budget=2000000", "--dump-dom", page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)
    answers = re.search(r"ANSWERS(.*?)END", done.stdout)
    if answers is None:
        sys.exit(f"{browser} did not carry out the page's program; its last words: {done.stderr[-300:]}")
    found: list[float] = json.loads(answers[1])
    return found


def browser_version(browser: str) -> str:
    try:
        done = subprocess.run([browser, "--version"], capture_output=True, text=True, timeout=60, check=True)
    except OSError as error:
        sys.exit(f"{browser} cannot be started: {error.strerror}; name a Chromium with --browser")
    return done.stdout.strip()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--browser", default="chromium", help="name or path of a Chromium")
    parser.add_argument("--files", type=int, default=60, help="damaged files of each form")
    parser.add_argument("--size", type=size, default=(800, 600), help="of stills and animations, such as 2000x1500")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="forms whose name contains this")
    parser.add_argument("--keep", type=Path, help="folder for the files that are shown and not judged")
    return parser.parse_args()


def size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


if __name__ == "__main__":
    main()
