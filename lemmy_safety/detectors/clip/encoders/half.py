"""The image tower in half precision, by torch: bf16 on CPUs that have it, fp16 on accelerators.

fp16 keeps three more bits than bf16 at the same speed, and CLIP's numbers fit into its range (its weights were
published
in fp16); if they do not fit for a picture, it gets NaN and the reference judges it. CUDA graphs and
``torch.compile`` are not used: a batch of 64 pictures keeps a GPU busy by itself, and compiling needs a C compiler on
the
admin's machine.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from lemmy_safety.detectors.clip.device import default_batch_size
from lemmy_safety.detectors.clip.encoders.base import PictureEncoder, unit

if TYPE_CHECKING:
    from lemmy_safety.detectors.clip.encoders.preparation import PicturePreparation

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class HalfEncoder(PictureEncoder):
    """A copy of the image tower in ``bf16`` or ``fp16``."""

    def __init__(
        self, visual: Any, preparation: PicturePreparation, *, precision: str, device: str, batch_size: int = 0
    ) -> None:
        """``visual`` is the tower in fp32; it is not changed."""
        super().__init__(
            preparation,
            library="torch",
            precision=precision,
            device=device,
            batch_size=batch_size or default_batch_size(device),
        )
        self._type = _TYPES[precision]
        # Copied tensor by tensor, so that there are never three towers in memory.
        tensors = [*visual.parameters(), *visual.buffers()]
        halves = {id(tensor): _half(tensor, self._type) for tensor in tensors}
        self._visual = copy.deepcopy(visual, halves)

    def features(self, squares: torch.Tensor) -> torch.Tensor:
        if self.device == "cuda":
            # From pinned memory, copying runs in parallel with the model. At 10 MB a batch of 64, a separate stream
            # does not pay.
            squares = squares.pin_memory()
        on_device = squares.to(self.device, non_blocking=self.device == "cuda")
        return unit(self._visual(self.preparation.numbers(on_device).to(self._type)))


def _half(tensor: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    converted = tensor.detach().to(kind if tensor.is_floating_point() else tensor.dtype)
    is_parameter = isinstance(tensor, torch.nn.Parameter)
    return torch.nn.Parameter(converted, requires_grad=False) if is_parameter else converted


def cpu_has_bf16() -> bool:
    """Whether the CPU has bf16 instructions (AMX or AVX512_BF16); elsewhere torch emulates them, slower than fp32."""
    tests = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(test() for test in tests if test is not None)
