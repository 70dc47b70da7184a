"""A tiny model for tests of encoders and of the screen."""

from types import SimpleNamespace

import pytest
import torch
from support.clip.checkpoints import random_clip, register_tiny, save_safetensors

from lemmy_safety.detectors.clip.encoders.reference import load_image_encoder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny model with its reference encoder, and unit text features that mean nothing."""
    folder = tmp_path_factory.mktemp("fast")
    model = register_tiny(folder, "tiny-fast")
    weights = save_safetensors(random_clip(model, seed=3), folder / "weights.safetensors")
    reference = load_image_encoder(model, weights, device="cpu")
    words = torch.randn(60, 32, generator=torch.Generator().manual_seed(1))
    yield SimpleNamespace(
        model=model,
        weights=weights,
        reference=reference,
        text=torch.nn.functional.normalize(words, dim=-1),
        cache=folder / "cache",
    )
    reference.close()
