"""Where a torch model runs: the available devices, their batch sizes, and how to recognise "out of memory".

Loads no model. Imports torch, so import this module only when a detector is opened.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch

from lemmy_safety.errors import DeviceError

#: In order of preference for ``auto``. ROCm builds of torch also call AMD devices ``cuda``.
DEVICES = ("cuda", "mps", "xpu", "cpu")

#: Pictures per batch. A ViT-L-14 gains nothing beyond 8 on CPUs; 64 fills a GPU and fits 4 GiB of its memory in fp32.
_BATCH_CPU = 8
_BATCH_ACCELERATOR = 64


def present_devices() -> tuple[str, ...]:
    """The devices that torch can use on this machine, best first; ``cpu`` is always among them."""
    with warnings.catch_warnings():
        # torch only warns about a driver that is too old for it; we treat that device as absent.
        warnings.simplefilter("ignore", UserWarning)
        found = {
            "cuda": torch.cuda.is_available(),
            "mps": torch.backends.mps.is_available(),
            "xpu": hasattr(torch, "xpu") and torch.xpu.is_available(),
            "cpu": True,
        }
    return tuple(name for name in DEVICES if found[name])


def choose_device(asked: str) -> str:
    """The device to use: the best one for ``auto``, else the requested one.

    :raises DeviceError: it is not on this machine; names the available ones.
    """
    present = present_devices()
    if asked == "auto":
        return present[0]
    if asked not in present:
        raise DeviceError(
            f"Device '{asked}' is not available on this machine; available: {', '.join(present)}.",
            hint="Use --device auto, or install the build of torch for your device (https://pytorch.org/get-started).",
        )
    return asked


def default_batch_size(device: str) -> int:
    """Pictures per batch if the settings do not say."""
    return _BATCH_CPU if device == "cpu" else _BATCH_ACCELERATOR


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` means that a smaller batch may succeed.

    CUDA, ROCm and XPU raise ``torch.OutOfMemoryError``; MPS and the CPU allocator raise a plain RuntimeError with
    these texts.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def free_device_memory(device: str) -> None:
    """Return torch's reserved memory to the device, to make room for a smaller batch."""
    module: Any = getattr(torch, device, None)
    if device != "cpu" and hasattr(module, "empty_cache"):
        module.empty_cache()
