"""An open_clip model as two encoders at reference precision (fp32): pictures to features, words to features.

Does not interpret features (heads do) and does not find weights (``weights/find.py`` does). The towers
are built separately, so that a start with cached text features never loads the text tower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import open_clip
import torch
from open_clip.transformer import QuickGELU

from lemmy_safety.detectors.clip.device import default_batch_size, is_out_of_memory
from lemmy_safety.detectors.clip.encoders.base import PictureEncoder, unit
from lemmy_safety.detectors.clip.encoders.preparation import PicturePreparation
from lemmy_safety.detectors.clip.weights.checkpoint import CAN_MAP, WeightsGuard, check_checkpoint, read_checkpoint
from lemmy_safety.detectors.clip.weights.find import pretrained_config
from lemmy_safety.errors import DetectorError, DeviceError, WeightsInvalid
from lemmy_safety.foreign import first_line, foreign

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lemmy_safety.detectors.clip.encoders.preparation import PreparedPictures

_VISUAL = "visual."


class ClipImageEncoder(PictureEncoder):
    """The image tower at reference precision on its device."""

    def __init__(
        self,
        visual: Any,
        preparation: PicturePreparation,
        *,
        device: str,
        batch_size: int = 0,
        guard: WeightsGuard | None = None,
    ) -> None:
        """``guard`` watches the file that the tensors of ``visual`` are mapped from."""
        super().__init__(
            preparation,
            library="torch",
            precision="fp32",
            device=device,
            batch_size=batch_size or default_batch_size(device),
        )
        self.visual = visual
        self._guard = guard

    def encode(self, pictures: PreparedPictures, places: Sequence[int] | None = None) -> torch.Tensor:
        features = super().encode(pictures, places)
        if self._guard is not None:
            # Check afterwards: results computed while the file was being written are not returned.
            self._guard.check()
        if not torch.isfinite(features).all():
            # Every comparison with NaN is false: the rules would call such a picture clear.
            raise DetectorError(f"The CLIP model on {self.device} answered values that are not numbers.")
        return features

    def features(self, squares: torch.Tensor) -> torch.Tensor:
        # Normalise on the CPU, as the reference does: a GPU divides differently.
        images = self.preparation.numbers(squares).to(self.device)
        # cuDNN rounds convolutions to TF32 (10 bits) by default; matrix products are exact by default.
        with torch.backends.cudnn.flags(allow_tf32=False):
            return unit(self.visual(images))

    def close(self) -> None:
        self.preparation.close()
        if self._guard is not None:
            self._guard.close()


class ClipTextEncoder:
    """The text tower on its device; needed once per model and word list."""

    def __init__(self, model: Any, tokenizer: Any, *, device: str) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._device = device

    def encode_texts(self, words: Sequence[str]) -> torch.Tensor:
        """Unit features of ``words``, (len(words), D), fp32, on the CPU.

        All words are encoded in one batch, as in clip_interrogator: sums in another order differ in the last bit.

        :raises DetectorError: the model failed.
        """
        tokens = self._tokenizer(list(words)).to(self._device)
        try:
            with torch.inference_mode():
                features = self._model.encode_text(tokens)
                features /= features.norm(dim=-1, keepdim=True)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise DeviceError(f"The text model does not fit into the memory of '{self._device}'.") from error
            raise DetectorError(f"The CLIP text model failed on {self._device}: {first_line(error)}.") from error
        result: torch.Tensor = features.float().cpu()
        return result


def check_weights(model: str, weights: Path) -> None:
    """Check whether the file can be a checkpoint of ``model``, without reading its tensors if its format allows that.

    :raises WeightsInvalid: the file is damaged or of another model.
    """
    check_checkpoint(weights, model=model, expected=_build(model).state_dict())


def load_image_encoder(model: str, weights: Path, *, device: str, batch_size: int = 0) -> ClipImageEncoder:
    """The image tower of ``model`` with the weights of a file. ``batch_size`` 0 chooses by device.

    :raises WeightsInvalid: the file is damaged or of another model.
    :raises DeviceError: the model does not fit into the device's memory.
    """
    clip = _build(model)
    expected = clip.state_dict()
    guard = _guard(model, weights) if device == "cpu" and CAN_MAP else None
    tensors = read_checkpoint(
        weights, model=model, expected=expected, wanted=[name for name in expected if name.startswith(_VISUAL)]
    )
    visual = clip.visual
    visual.load_state_dict({name.removeprefix(_VISUAL): tensor for name, tensor in tensors.items()}, assign=True)
    _to_device(visual, model, device)
    preparation = PicturePreparation(visual, model, device=device)
    return ClipImageEncoder(
        visual,
        preparation,
        device=device,
        batch_size=batch_size,
        guard=guard,
    )


def load_text_encoder(model: str, weights: Path, *, device: str) -> ClipTextEncoder:
    """The text tower of ``model`` with the weights of a file.

    :raises WeightsInvalid: the file is damaged or of another model.
    :raises DeviceError: the model does not fit into the device's memory.
    """
    clip = _build(model)
    expected = clip.state_dict()
    clip.visual = torch.nn.Identity()
    wanted = list(clip.state_dict())
    clip.load_state_dict(read_checkpoint(weights, model=model, expected=expected, wanted=wanted), assign=True)
    # The one tensor that checkpoints leave out: words ignore the words after them.
    clip.attn_mask = torch.full(clip.attn_mask.shape, float("-inf")).triu_(1)
    _to_device(clip, model, device)
    # open_clip.get_tokenizer would configure the root logger as a side effect of its own messages.
    return ClipTextEncoder(clip, open_clip.SimpleTokenizer(context_length=clip.context_length), device=device)


def _build(model: str) -> Any:
    """The architecture without numbers: nothing is initialised at random, so nothing random can remain."""
    config = open_clip.get_model_config(model)
    if config is None:
        raise DetectorError(f"open_clip {open_clip.__version__} knows no model '{model}'.")
    pretrained = pretrained_config(model)
    if pretrained:
        # open_clip 3 only warns if a model trained with QuickGELU is built with the default GELU.
        config["quick_gelu"] = bool(pretrained.get("quick_gelu", False))
    quick = bool(config.get("quick_gelu", False))
    with torch.device("meta"):
        clip = open_clip.CLIP(**config)
    wrong = [
        name for name, part in clip.named_modules() if name.endswith("gelu") and isinstance(part, QuickGELU) != quick
    ]
    if wrong:
        raise DetectorError(f"open_clip built {model} with the wrong activation in {len(wrong)} layers.")
    # Weights stay marked as trainable, as in the reference: by that mark torch chooses between two kinds of
    # matrix product (``should_fold`` in its LinearAlgebra.cpp, even without gradients), whose last bits differ.
    return clip.eval()


def _guard(model: str, weights: Path) -> WeightsGuard:
    try:
        return WeightsGuard(weights)
    except OSError as error:
        raise WeightsInvalid(
            f"The weights file {weights} for CLIP {model} cannot be read: {foreign(error)}."
        ) from error


def _to_device(module: Any, model: str, device: str) -> None:
    empty = [name for name, tensor in (*module.named_parameters(), *module.named_buffers()) if tensor.is_meta]
    if empty:
        raise DetectorError(f"{len(empty)} tensors of {model} got no weights, '{empty[0]}' among them.")
    try:
        module.to(device)
    except (RuntimeError, MemoryError) as error:
        raise DeviceError(f"CLIP {model} cannot be placed on device '{device}': {first_line(error)}.") from error
