"""Common to all picture encoders: batches that fit into the device's memory, unit features, one kind of error.

Subclasses turn a batch into features: the reference in ``reference.py``, faster and less precise ones in
``half.py`` and ``openvino.py``.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch

from lemmy_safety.detectors.clip.device import free_device_memory, is_out_of_memory
from lemmy_safety.errors import DetectorError, DeviceError
from lemmy_safety.foreign import first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from lemmy_safety.detectors.clip.encoders.preparation import PicturePreparation, PreparedPictures

logger = logging.getLogger(__name__)


class PictureEncoder(ABC):
    """Pictures to features, at one precision on one device. For one thread at a time."""

    def __init__(
        self, preparation: PicturePreparation, *, library: str, precision: str, device: str, batch_size: int
    ) -> None:
        """``precision`` is ``fp32``, ``bf16``, ``fp16`` or ``int8``; ``batch_size`` shrinks when memory runs out."""
        self.preparation = preparation
        self.library = library
        self.precision = precision
        self.device = device
        self.batch_size = batch_size

    @property
    def name(self) -> str:
        """Such as ``torch-bf16``."""
        return f"{self.library}-{self.precision}"

    def encode_images(self, pixels: Sequence[npt.NDArray[np.uint8]]) -> torch.Tensor:
        """``encode`` for RGB pictures, each of shape (height, width, 3), uint8."""
        return self.encode(self.preparation.prepare(pixels))

    def encode(self, pictures: PreparedPictures, places: Sequence[int] | None = None) -> torch.Tensor:
        """Unit features of the pictures at these places (all of them), (len(places), D), fp32, on the CPU.

        If the device runs out of memory, the batch size is halved and stays so.

        :raises DeviceError: not even one picture fits into the device's memory.
        :raises DetectorError: the model failed.
        """
        places = range(len(pictures)) if places is None else places
        parts: list[torch.Tensor] = []
        start = 0
        try:
            while start < len(places):
                batch = places[start : start + self.batch_size]
                try:
                    with torch.inference_mode():
                        # The result stays on the device: an accelerator continues with this batch while the next is
                        # prepared.
                        parts.append(self.features(pictures.squares(batch)))
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    self._halve_batch(len(batch), error)
                    continue
                start += len(batch)
            return torch.cat(parts).cpu() if parts else torch.empty(0, 0)
        except (RuntimeError, MemoryError) as error:
            raise DetectorError(f"The CLIP model failed on {self.device}: {first_line(error)}.") from error

    @abstractmethod
    def features(self, squares: torch.Tensor) -> torch.Tensor:
        """Unit features of squares (N, size, size, 3), uint8, on the CPU: (N, D), fp32, on any device."""

    def close(self) -> None:  # noqa: B027 - most have nothing to free
        """Free what garbage collection of this object does not."""

    def _halve_batch(self, tried: int, error: BaseException) -> None:
        if tried == 1:
            raise DeviceError(
                f"One picture is too much for the memory of device '{self.device}'.",
                hint="Close other programs that use the device, or use --device cpu.",
            ) from error
        self.batch_size = tried // 2
        logger.warning("Out of memory on %s with %d pictures; going on with %d.", self.device, tried, self.batch_size)
        free_device_memory(self.device)


def unit(features: torch.Tensor) -> torch.Tensor:
    """Rows scaled to length 1, in fp32 whatever their type."""
    features = features.float()
    return features / features.norm(dim=-1, keepdim=True)
