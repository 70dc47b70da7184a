"""How the ancestor tool checks a picture, by the public calls of the packages it used: one picture, two passes.

It opens a picture with Pillow, makes a thumbnail of 512 pixels, and asks ``NSFWChecker.check_for_nsfw``, which has the
picture encoded twice by ``clip_interrogator``: in fp32 on CPUs, in fp16 with autocast on CUDA.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import open_clip
import torch
from loguru import logger as loguru_logger

# The package talks to standard error while it is imported.
loguru_logger.disable("horde_safety")

from clip_interrogator import Config, Interrogator  # noqa: E402
from horde_safety import interrogate  # noqa: E402
from horde_safety.nsfw_checker_class import NSFWChecker  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

THUMBNAIL = 512


class BareInterrogator(Interrogator):
    """clip_interrogator's own class with a model that was loaded from a file.

    Its ``__init__`` is left out: it would embed tens of thousands of phrases for captions that no one asks for.
    """

    def __init__(self, clip: Any, preprocess: Any, device: str) -> None:
        self.config = Config(clip_model_name="ViT-L-14/openai", device=device, quiet=True)
        self.device = device
        self.dtype = torch.float16 if device == "cuda" else torch.float32
        self.caption_offloaded = True
        self.clip_offloaded = False
        self.clip_model = clip
        self.clip_preprocess = preprocess
        self.tokenize = open_clip.tokenize


class AncestorCheck:
    """The ancestor's check with the weights of a file (ViT-L-14)."""

    def __init__(self, checkpoint: Path, device: str) -> None:
        # Its own way to say autocast is deprecated, and warns at every picture.
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*CUDA is not available.*", category=UserWarning)
        clip, _, preprocess = open_clip.create_model_and_transforms(
            "ViT-L-14-quickgelu",
            pretrained=str(checkpoint),
            precision="fp16" if device == "cuda" else "fp32",
            device=device,
        )
        # As horde_safety sets it up: the features of the words are computed once.
        BareInterrogator.similarities = interrogate._similarities_hijack  # noqa: SLF001
        self._checker = NSFWChecker(BareInterrogator(clip.eval(), preprocess, device), None)

    def use_text_features(self, features: dict[tuple[str, ...], torch.Tensor], device: str) -> None:
        """Planted features of the word lists instead of the model's own."""
        cached = interrogate._cached_text_array_features  # noqa: SLF001
        cached.clear()
        cached.update({words: rows.to(device) for words, rows in features.items()})

    def check(self, image: Image.Image) -> Any:
        """``NSFWResult`` for a picture that is decoded already."""
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        return self._checker.check_for_nsfw(image)
