"""From frames to the squares that a CLIP model sees, with open_clip's own transform for its weights.

The input of the reference equals the transform's output to the last bit. Cropping and scaling (2 to 4 ms a picture,
without the interpreter's lock) happen in threads, while the model computes; the arithmetic is done for a
whole batch, and with an accelerator on the accelerator.
"""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from PIL import Image

from lemmy_safety.detectors.clip.weights.find import pretrained_config
from lemmy_safety.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

#: The transform scales the short side to the model's 224 pixels and then keeps the middle square. A picture of 50,000
#: x 1 pixels would become 11,200,000 x 224 on the way (7.5 GB), so beyond this ratio the middle is cut out first.
_MAX_ASPECT = 256

#: At 3 ms a picture, eight threads prepare 2,500 a second: more than any single device takes in fp32.
_MOST_THREADS = 8


class PreparedPictures:
    """Squares of pictures, prepared in the background."""

    def __init__(self, squares: Sequence[Future[Pixels]]) -> None:
        self._squares = squares

    def __len__(self) -> int:
        return len(self._squares)

    def squares(self, places: Sequence[int]) -> torch.Tensor:
        """The squares at these places, (len(places), size, size, 3), uint8; waits for unfinished ones."""
        return torch.from_numpy(np.stack([self._squares[place].result() for place in places]))


class PicturePreparation:
    """The transform of one model. ``close`` ends its threads."""

    def __init__(self, visual: Any, model: str, *, device: str) -> None:
        """``visual`` is the image tower, used only for its size; ``device`` determines the number of threads."""
        *self._geometry, self._to_numbers, self._normalise = preprocessing(visual, model).transforms
        if not hasattr(self._normalise, "mean") or not hasattr(self._normalise, "std"):
            raise DetectorError(f"open_clip prepares pictures for {model} in a way that is not known here.")
        # Kept by device: if they were made again for every batch, the accelerator would wait for them.
        self._colours = functools.cache(self._colours_on)
        # On a CPU the model itself uses all cores, and preparing is one thirtieth of the work.
        threads = 1 if device == "cpu" else min(_MOST_THREADS, os.cpu_count() or 1)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="prepare")

    def prepare(self, pixels: Sequence[Pixels]) -> PreparedPictures:
        """Start preparing RGB pictures, each (height, width, 3), uint8."""
        return PreparedPictures([self._threads.submit(self.square, picture) for picture in pixels])

    def square(self, pixels: Pixels) -> Pixels:
        """What the model sees of one picture: (size, size, 3), uint8."""
        image = Image.fromarray(middle(pixels))
        for step in self._geometry:
            image = step(image)
        return np.asarray(image)

    def numbers(self, squares: torch.Tensor) -> torch.Tensor:
        """The model's input, (N, 3, size, size), fp32, on the same device as the squares."""
        # Exactly the steps of the transform, in its order, for many pictures at once: the same bits on the CPU.
        numbers = squares.permute(0, 3, 1, 2).contiguous().float().div(255)
        mean, std = self._colours(squares.device)
        return numbers.sub_(mean).div_(std)

    def _colours_on(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        """The mean and the standard deviation of the colours, each (1, 3, 1, 1)."""
        return tuple(
            torch.tensor(values, device=device).view(1, -1, 1, 1)
            for values in (self._normalise.mean, self._normalise.std)
        )

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


def preprocessing(visual: Any, model: str) -> Any:
    """open_clip's own transform for evaluation with these weights: scale, crop the middle, normalise; PIL to tensor."""
    config = merge_preprocess_dict(PreprocessCfg(size=visual.image_size), pretrained_config(model))
    return image_transform_v2(PreprocessCfg(**config), is_train=False)


def middle(picture: Pixels) -> Pixels:
    """The picture, or only its middle if it is so long that scaling all of it would exhaust the memory."""
    height, width = picture.shape[:2]
    longest = min(height, width) * _MAX_ASPECT
    if max(height, width) <= longest:
        return picture
    # Cut evenly on both sides, so that the middle stays in place.
    cut = (max(height, width) - longest) // 2
    return picture[:, cut : width - cut] if width > height else picture[cut : height - cut]
