"""What tests of fast encoders share: a tiny model's request for them, and a program in place of the maker of models."""

import importlib.util
import os
import sys

import pytest
from support.clip.pictures import sample_pictures

from lemmy_safety.detectors.clip.encoders import openvino
from lemmy_safety.detectors.clip.screen.choice import (
    StageRequest,
)

DIGEST = "d" * 64


def needs_openvino():
    if not all(importlib.util.find_spec(name) for name in ("openvino", "nncf")):
        reason = "the extra 'openvino' is not installed: the OpenVINO encoders are NOT tested"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


def request_for(tiny, cache, **changes):
    parts = {
        "model": tiny.model,
        "weights": tiny.weights,
        "weights_digest": DIGEST,
        "directions_digest": "w" * 64,
        "directions": tiny.text,
        "cache_dir": cache,
        **changes,
    }
    return StageRequest(**parts)


def errors_beyond(encoder, tiny, bound):
    """Similarities of pictures that were not measured and that are further off than the bound."""
    pictures = list(sample_pictures(120, seed=44))
    difference = encoder.encode_images(pictures) - tiny.reference.encode_images(pictures)
    return int(((difference @ tiny.text.T).abs() > bound).sum())


def program(monkeypatch, code):
    """Let the making of a model run another program instead; it gets the order on its standard input."""
    command = [sys.executable, "-c", code]
    real = openvino.subprocess.Popen
    monkeypatch.setattr(openvino.importlib.metadata, "version", lambda _: "1")
    monkeypatch.setattr(openvino.subprocess, "Popen", lambda _, **how: real(command, **how))
