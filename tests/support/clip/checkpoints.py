"""CLIP checkpoints with seeded random weights, made by open_clip itself, in every container that real ones come in.

Real weights are never needed: what is tested is loading, arithmetic and rules, and those are the same for any numbers.
"""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import open_clip
import torch
from safetensors.torch import save_file

if TYPE_CHECKING:
    from pathlib import Path

#: Small enough to run in milliseconds, and of the same parts as ViT-L-14. Vocabulary and context are CLIP's own,
#: because its tokenizer writes those numbers.
TINY = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def register_tiny(folder: Path, name: str = "tiny-clip", **changes: Any) -> str:
    """Make open_clip know a tiny architecture under ``name``; ``changes`` replace entries of its configuration."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**TINY, **changes}), encoding="utf-8")
    open_clip.add_model_config(path)
    return name


def random_clip(model: str, *, seed: int, **changes: Any) -> Any:
    """open_clip's own model with weights drawn from ``seed``, in evaluation mode, fp32."""
    config = open_clip.get_model_config(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return open_clip.CLIP(**{**config, **changes}).eval()


def save_safetensors(clip: Any, path: Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """As on the model hub: ``open_clip_model.safetensors``."""
    save_file({name: tensor.to(dtype).contiguous() for name, tensor in clip.state_dict().items()}, path)
    return path


def save_state_dict(clip: Any, path: Path) -> Path:
    """As on the model hub: ``open_clip_pytorch_model.bin``."""
    torch.save(clip.state_dict(), path)
    return path


def save_old_state_dict(clip: Any, path: Path) -> Path:
    """As torch wrote it before version 1.6."""
    torch.save(clip.state_dict(), path, _use_new_zipfile_serialization=False)
    return path


def save_training_run(clip: Any, path: Path) -> Path:
    """As a distributed training of open_clip leaves it."""
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": part for name, part in clip.state_dict().items()}}, path)
    return path


class _Archive(torch.nn.Module):
    """A module with CLIP's tensors under their names and the three numbers that OpenAI put among them."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        for name, tensor in clip.state_dict().items():
            *parents, last = name.split(".")
            place = self
            for parent in parents:
                if not hasattr(place, parent):
                    place.add_module(parent, torch.nn.Module())
                place = getattr(place, parent)
            place.register_buffer(last, tensor.detach().half())
        for name, value in (("input_resolution", 32), ("context_length", 77), ("vocab_size", 49408)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, number: torch.Tensor) -> torch.Tensor:
        return number


def save_openai_archive(clip: Any, path: Path) -> Path:
    """As OpenAI published its weights: a TorchScript archive in half precision."""
    with warnings.catch_warnings():
        # All of TorchScript is deprecated in torch; OpenAI's files stay what they are.
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.", category=FutureWarning)
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.", category=DeprecationWarning)
        torch.jit.script(_Archive(clip).eval()).save(str(path))
    return path
