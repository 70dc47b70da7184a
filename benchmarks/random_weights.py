"""A full-size ViT-L-14 with seeded random weights, as a file that both the ancestor's way and ours can load.

Speed and errors of rounding need no real weights, and nobody who measures should have to fetch 1.7 GB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import suite  # noqa: F401
import torch
from support.clip_checkpoints import random_clip, save_safetensors

if TYPE_CHECKING:
    from pathlib import Path


def random_checkpoint(folder: Path, seed: int) -> Path:
    """The file in ``folder``, made first where it is not: 855 MB in fp16."""
    path = folder / f"random-vit-l-14-seed-{seed}.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        save_safetensors(random_clip("ViT-L-14-quickgelu", seed=seed), path, dtype=torch.float16)
    return path
