"""Chooses the fast encoders that screen for the reference on this machine, opened and measured.

On a CPU, ``auto`` uses OpenVINO in int8 if it is installed and then torch in bf16 if the CPU has it: int8 is the
fastest and clears what is far from any limit; bf16 has a tenth of the error and clears most of the rest. On an
accelerator it uses fp16. An encoder that is not faster than its successor is left out.
"""

from __future__ import annotations

import importlib.metadata
import logging
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lemmy_safety.detectors.clip.encoders.half import HalfEncoder, cpu_has_bf16
from lemmy_safety.detectors.clip.encoders.openvino import load_openvino_encoder, make_openvino_model
from lemmy_safety.detectors.clip.encoders.openvino_build import has_openvino
from lemmy_safety.detectors.clip.screen.error_bound import ErrorBoundFile, measure
from lemmy_safety.detectors.clip.screen.stage import Stage
from lemmy_safety.errors import DetectorError, DeviceError, MissingExtra
from lemmy_safety.foreign import foreign

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence
    from pathlib import Path

    from lemmy_safety.detectors.clip.encoders.base import PictureEncoder
    from lemmy_safety.detectors.clip.encoders.reference import ClipImageEncoder
    from lemmy_safety.detectors.clip.screen.error_bound import ErrorBound

logger = logging.getLogger(__name__)

SCREENS = ("auto", "off", "openvino-int8", "openvino-bf16", "torch-bf16", "torch-fp16")
"""The choices of the setting."""

#: Minimum measured speed-up over the next encoder. Below this, timing noise decides, and the pictures that the encoder
#: does not clear cost more than it saves.
_WORTHWHILE = 1.25

#: A larger error would leave most pictures of people open: limits are around 0.2, and similarities of different
#: pictures to one text are within some 0.1.
_LARGEST_USEFUL_ERROR = 0.02


@dataclass(frozen=True, kw_only=True)
class StageRequest:
    """The task of the encoders: ``model`` with ``weights`` and the ``directions`` of all heads, (K, D).

    ``batch_size`` 0 lets the encoder choose. ``stop`` ends the making of a model.
    """

    model: str
    weights: Path
    weights_digest: str
    directions_digest: str
    directions: torch.Tensor
    cache_dir: Path
    batch_size: int = 0
    stop: threading.Event | None = None


def automatic_stages(device: str) -> tuple[str, ...]:
    """The names of the encoders that ``auto`` tries on this machine, fastest first."""
    if device != "cpu":
        return ("torch-fp16",)
    return (*(("openvino-int8",) if has_openvino() else ()), *(("torch-bf16",) if cpu_has_bf16() else ()))


def check_choice(choice: str, device: str) -> None:
    """Check that the encoder requested by name can run here at all; ``auto`` and ``off`` always pass.

    :raises MissingExtra: it needs a package.
    :raises DeviceError: it runs on another device.
    """
    if not choice.startswith("openvino-"):
        return
    if device != "cpu":
        raise DeviceError(f"{choice} runs on CPUs, and the device is '{device}'.", hint="Use CLIP_SCREEN=auto.")
    if not has_openvino():
        raise MissingExtra("openvino", needed_for="Screening with OpenVINO")


def ready_stages(choice: str, device: str, request: StageRequest) -> tuple[str, ...]:
    """The names of the encoders for ``choice`` (``auto``, ``off`` or one name) whose models are ready, fastest first.

    Makes missing models. Call it while no tower is in memory: making a model needs all of the memory. Models that
    cannot
    be made are left out and logged.
    """
    if choice == "off":
        return ()
    names = automatic_stages(device) if choice == "auto" else (choice,)
    ready = []
    for name in names:
        library, precision = name.split("-")
        try:
            if library == "openvino":
                _model_folder(precision, request)
        except DetectorError as error:
            logger.warning("No screening with %s: %s", name, error.message)
        else:
            ready.append(name)
    return tuple(ready)


def open_stages(
    names: Sequence[str], reference: ClipImageEncoder, request: StageRequest, *, only_useful: bool = True
) -> list[Stage]:
    """The stages of ``ready_stages``, each measured against the reference.

    Leaves out those that do not work, and with ``only_useful`` those that save no time: without loading them, if an
    earlier start has measured them.
    """
    stages: list[Stage] = []
    for name in reversed(names):
        cost_after = stages[0].bound.cost if stages else 1.0
        file = _bound_file(name, reference, request)
        kept = file.read()
        if kept is not None and only_useful and _is_useless(name, kept, cost_after):
            continue
        try:
            stage = _open(name, reference, request, file, kept)
        except DetectorError as error:
            logger.warning("No screening with %s: %s", name, error.message)
            continue
        if kept is None and only_useful and _is_useless(name, stage.bound, cost_after):
            stage.encoder.close()
        else:
            stages.insert(0, stage)
    return stages


def _is_useless(name: str, bound: ErrorBound, cost_after: float) -> bool:
    """Whether an encoder saves no time; if so, logs why."""
    if bound.cost * _WORTHWHILE > cost_after:
        why = f"a picture takes {bound.cost:.2f} of the reference's time, and what comes after it {cost_after:.2f}"
    elif bound.largest > _LARGEST_USEFUL_ERROR:
        why = f"its similarities are off by up to {bound.largest:.4f}"
    else:
        return False
    logger.info("No screening with %s: %s.", name, why)
    return True


def _bound_file(name: str, reference: ClipImageEncoder, request: StageRequest) -> ErrorBoundFile:
    identity = {
        "model": request.model,
        "weights": request.weights_digest,
        "words": request.directions_digest,
        "encoder": name,
        "device": _device_name(reference.device),
        "versions": " ".join(
            f"{package}-{importlib.metadata.version(package)}"
            for package in ("torch", *(("openvino", "nncf") if name.startswith("openvino") else ()))
        ),
    }
    return ErrorBoundFile(request.cache_dir, identity)


def _open(
    name: str,
    reference: ClipImageEncoder,
    request: StageRequest,
    file: ErrorBoundFile,
    kept: ErrorBound | None,
) -> Stage:
    encoder = _encoder(name, reference, request)
    bound = kept
    if bound is None:
        logger.info("Measuring the error of %s, once for these weights on this machine.", name)
        bound = measure(encoder, reference, request.directions)
        file.write(bound)
    logger.info("%s errs by up to %.5f; the screen allows for %.5f.", name, bound.largest, bound.value)
    return Stage(encoder, bound, keep=file.write)


def _encoder(name: str, reference: ClipImageEncoder, request: StageRequest) -> PictureEncoder:
    library, precision = name.split("-")
    if library == "torch":
        try:
            return HalfEncoder(
                reference.visual,
                reference.preparation,
                precision=precision,
                device=reference.device,
                batch_size=request.batch_size,
            )
        except (RuntimeError, MemoryError) as error:
            raise DeviceError(
                f"No room for {name} on '{reference.device}' next to the reference model ({foreign(error)})."
            ) from error
    folder = _model_folder(precision, request)
    return load_openvino_encoder(folder, reference.preparation, precision=precision, batch_size=request.batch_size)


def _model_folder(precision: str, request: StageRequest) -> Path:
    return make_openvino_model(
        request.model,
        request.weights,
        precision=precision,
        weights_digest=request.weights_digest,
        cache_dir=request.cache_dir,
        stop=request.stop,
    )


def _device_name(device: str) -> str:
    if device == "cuda":
        return f"{torch.cuda.get_device_name()} {torch.version.cuda or torch.version.hip}"
    return f"{device} {platform.machine()} {platform.processor()} {torch.backends.cpu.get_cpu_capability()}"
