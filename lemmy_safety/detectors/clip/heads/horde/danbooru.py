"""DeepDanbooru, horde_safety's second opinion on drawings: finds its weights and loads the model on the device.

horde_safety calls the model itself, from within its rules (``rules.py``).
"""

from __future__ import annotations

import logging
import os
import pickle
from typing import TYPE_CHECKING, Any

from horde_safety.deep_danbooru_model import (
    default_deep_danbooru_model_path,
    download_deep_danbooru_model,
    get_deep_danbooru_model,
    model_url,
)

from lemmy_safety.detectors.clip.device import is_out_of_memory
from lemmy_safety.detectors.clip.weights.network import why_unreachable
from lemmy_safety.errors import DeviceError, WeightsInvalid, WeightsMissing
from lemmy_safety.foreign import first_line

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

_WAYS_OUT = (
    "Three ways out: (1) connect this machine to the network once and run 'lemmy-safety doctor', which fetches them; "
    f"(2) fetch {model_url} on another machine, copy it here and set DANBOORU_WEIGHTS=/path/to/file; "
    "(3) set DANBOORU=false."
)


def find_danbooru(configured: Path | None, *, fetch: bool = True) -> Path:
    """The configured file, or horde_safety's own download, which is fetched first if it is missing.

    :raises WeightsMissing: there is no file, and it cannot be fetched or, without ``fetch``, must not be.
    """
    path: Path = configured.expanduser() if configured else default_deep_danbooru_model_path
    if not os.path.isfile(path):  # noqa: PTH113 - Path's own fails on a name that is too long
        if configured:
            raise WeightsMissing(f"The DeepDanbooru weights file {path} does not exist.", hint=_WAYS_OUT)
        if not fetch:
            raise WeightsMissing("The DeepDanbooru weights are not on this machine.", hint=_WAYS_OUT)
        _download()
    return path


def load_danbooru(configured: Path | None, *, device: str) -> Any:
    """The model on ``device``, from the file of ``find_danbooru``.

    :raises WeightsMissing: there is no file and it cannot be fetched.
    :raises WeightsInvalid: the file is damaged or of another model.
    :raises DeviceError: the model does not fit into the device's memory.
    """
    path = find_danbooru(configured)
    try:
        model = get_deep_danbooru_model(path, device)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        if is_out_of_memory(error):
            raise DeviceError(f"DeepDanbooru does not fit into the memory of device '{device}'.") from error
        raise WeightsInvalid(
            f"{path} does not hold the weights of DeepDanbooru ({first_line(error)}).",
            hint="Delete the file, so that it is fetched again, or set DANBOORU_WEIGHTS to the right one.",
        ) from error
    if not model.tags:
        raise WeightsInvalid(f"{path} names no tags: it is not horde_safety's DeepDanbooru file.", hint=_WAYS_OUT)
    return model


def _download() -> None:
    reason = why_unreachable(model_url)
    if reason is not None:
        raise WeightsMissing(
            f"The DeepDanbooru weights are not on this machine and cannot be fetched ({reason}).", hint=_WAYS_OUT
        )
    logger.info("Fetching the DeepDanbooru weights (614 MB); this happens once.")
    try:
        download_deep_danbooru_model()
    except Exception as error:  # horde_safety raises bare Exception if the file's digest is wrong
        raise WeightsMissing(
            f"The DeepDanbooru weights could not be fetched ({first_line(error)}).", hint=_WAYS_OUT
        ) from error
