"""A full-size CLIP with seeded random weights, as a file that both the ancestor's way and ours can load.

Speed and errors of rounding need no real weights, and no one who measures should have to fetch 1.7 GB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import suite  # noqa: F401
import torch
from support.clip.checkpoints import (
    random_clip,
    save_old_state_dict,
    save_openai_archive,
    save_safetensors,
    save_state_dict,
)

if TYPE_CHECKING:
    from pathlib import Path


#: How the same weights may be stored: fp32 that can be mapped, fp16 that becomes fp32 in memory, torch's own files of today
#: and of before version 1.6, and the TorchScript archive that OpenAI published.
FORMS = {
    "fp16": ("safetensors", lambda clip, path: save_safetensors(clip, path, dtype=torch.float16)),
    "fp32": ("fp32.safetensors", save_safetensors),
    "torch": ("bin", save_state_dict),
    "torch-old": ("old.bin", save_old_state_dict),
    "openai": ("pt", save_openai_archive),
}


def random_checkpoint(folder: Path, seed: int, form: str = "fp16", *, model: str = "ViT-L-14") -> Path:
    """The file in ``folder``, made first where it is not: 855 MB in fp16 for the default ``model``, twice as much in fp32.

    ``form`` is of ``FORMS``; ``model`` is open_clip's name of one that OpenAI trained, without its ``-quickgelu``.
    """
    suffix, save = FORMS[form]
    path = folder / f"random-{model.lower()}-seed-{seed}.{suffix}"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        save(random_clip(f"{model}-quickgelu", seed=seed), path)
    return path
