"""The clip detector with the head of horde_safety, as the wiring builds it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from lemmy_safety.detectors.clip.detector import ClipDetector
from lemmy_safety.detectors.clip.heads.horde.head import HordeHead
from lemmy_safety.detectors.clip.model import ClipModel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lemmy_safety.detectors.clip.heads.horde.rules import HordeRules

_OF_THE_HEAD = ("use_new_safety", "danbooru", "danbooru_weights")


def clip_detector(
    name: str,
    weights: Path | None,
    cache_dir: Path,
    *,
    device: str = "cpu",
    batch_size: int = 0,
    screen: str = "off",
    **more: Any,
) -> ClipDetector:
    """Not opened; ``more`` are arguments of ``HordeHead`` and of ``ClipDetector``."""
    head = HordeHead(**{argument: more.pop(argument) for argument in _OF_THE_HEAD if argument in more})
    model = ClipModel(name=name, weights=weights, device=device, batch_size=batch_size, cache_dir=cache_dir)
    return ClipDetector(model, [head], screen=screen, **more)


def rules_of(detector: ClipDetector) -> HordeRules:
    """The rules of an open detector."""
    (head,) = detector.heads
    assert isinstance(head, HordeHead)
    return head.rules


def features_of(detector: ClipDetector, pictures: Sequence[Any]) -> Any:
    """What the reference encoder of an open detector computes, before any head interprets it."""
    return detector._encoder.encode_images(pictures)


def in_new_process(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False, env=os.environ | environ
    )
    assert done.returncode == 0, done.stderr
    return done
