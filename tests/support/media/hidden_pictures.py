"""A cover and a secret in every format, and the search for the one in the other."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from support.media import pictures
from support.media.files import VIDEOS, encode_video

from lemmy_safety.media import sniff
from lemmy_safety.media.hidden.search import find_hidden
from lemmy_safety.records import AnomalyKind

COVER = pictures.photo("coffee").resize((60, 40))
SECRET = pictures.photo("chelsea").resize((48, 32))
FRAMES = [pictures.shapes(64, 48, seed=number) for number in range(8)]
COVERS = {form: pictures.encode(COVER, form) for form in pictures.STILL_FORMATS}
SECRETS = {form: pictures.encode(SECRET, form) for form in pictures.STILL_FORMATS}
MP4 = encode_video(FRAMES, [125] * 8, VIDEOS["mp4 h264"])
WEBM = encode_video(FRAMES, [125] * 8, VIDEOS["webm vp8"])
SECRETS |= {"mp4": MP4, "webm": WEBM}
JPEG, PNG, GIF, WEBP, AVIF = (COVERS[form] for form in ("jpeg", "png", "gif", "webp", "avif"))
SECRET_JPEG, SECRET_PNG = SECRETS["jpeg"], SECRETS["png"]
TRAILING, PICTURE, FILE, METADATA = (
    AnomalyKind.TRAILING_DATA,
    AnomalyKind.EMBEDDED_PICTURE,
    AnomalyKind.EMBEDDED_FILE,
    AnomalyKind.OVERSIZED_METADATA,
)


def hidden_in(data):
    return find_hidden(data, sniff.sniff(data))


def kinds(hidden):
    return [anomaly.kind for anomaly in hidden.anomalies]


def pixels(embedded):
    return np.asarray(Image.open(io.BytesIO(bytes(embedded.data))).convert("RGB"))
