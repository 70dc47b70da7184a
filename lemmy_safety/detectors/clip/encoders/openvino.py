"""The image tower by OpenVINO on a CPU, in int8 or bf16; the model is made once and kept in a folder.

The files hold weights, nothing of any picture. Another process (``openvino_build.py``) makes them next to their final
place, and they are moved there when complete, so that an interrupted start leaves no half-made model.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import open_clip
import torch

from lemmy_safety.detectors.clip.encoders.base import PictureEncoder, unit
from lemmy_safety.detectors.clip.encoders.openvino_build import MODEL_FILE, PACKAGES, RECIPE, import_openvino
from lemmy_safety.errors import DetectorError
from lemmy_safety.foreign import foreign

if TYPE_CHECKING:
    import threading

    from lemmy_safety.detectors.clip.encoders.preparation import PicturePreparation

logger = logging.getLogger(__name__)

#: Pictures per batch. In int8, ViT-L-14 gains another tenth between 8 and 32 (measured, 2 cores with AMX).
_BATCH = 32

#: The next start removes the folder of one that was killed, if it is older than any start takes.
_STALE_S = 24 * 3600

#: Seconds between checks whether to stop while a model is made.
_LOOK_S = 0.5


class OpenVinoEncoder(PictureEncoder):
    """A compiled model of the image tower."""

    def __init__(self, compiled: Any, preparation: PicturePreparation, *, precision: str, batch_size: int = 0) -> None:
        super().__init__(
            preparation, library="openvino", precision=precision, device="cpu", batch_size=batch_size or _BATCH
        )
        self._request = compiled.create_infer_request()

    def features(self, squares: torch.Tensor) -> torch.Tensor:
        numbers = self.preparation.numbers(squares).numpy()
        (answer,) = self._request.infer([numbers], share_inputs=True).values()
        # The next batch overwrites this result; normalising it to fp32 unit vectors makes a copy.
        return unit(torch.from_numpy(answer))


def make_openvino_model(
    model: str,
    weights: Path,
    *,
    precision: str,
    weights_digest: str,
    cache_dir: Path,
    stop: threading.Event | None = None,
) -> Path:
    """The folder of the OpenVINO model for these weights. If ``cache_dir`` has none, makes it, once: takes minutes.

    Call it only if ``has_openvino``.

    :raises DetectorError: the model cannot be made on this machine, or ``stop`` was set meanwhile.
    """
    identity = (RECIPE, model, weights_digest, precision, *(importlib.metadata.version(name) for name in PACKAGES))
    folder = cache_dir / f"clip-{precision}-{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]}"
    if not (folder / MODEL_FILE).is_file():
        _make(model, weights, precision, folder, stop)
    return folder


def load_openvino_encoder(
    folder: Path, preparation: PicturePreparation, *, precision: str, batch_size: int = 0
) -> OpenVinoEncoder:
    """The encoder from a folder of ``make_openvino_model``.

    :raises DetectorError: the model in it cannot be loaded; the folder is removed, so that it is made again.
    """
    import_openvino()
    import openvino  # noqa: PLC0415 - an extra

    hint = {"INFERENCE_PRECISION_HINT": "bf16"} if precision == "bf16" else {}
    try:
        # One stream on all cores, because we wait for the whole batch.
        compiled = openvino.Core().compile_model(folder / MODEL_FILE, "CPU", {"PERFORMANCE_HINT": "LATENCY", **hint})
    except RuntimeError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise DetectorError(f"OpenVINO cannot load {folder}: {_last_line(foreign(error))}.") from error
    return OpenVinoEncoder(compiled, preparation, precision=precision, batch_size=batch_size)


def _make(model: str, weights: Path, precision: str, folder: Path, stop: threading.Event | None) -> None:
    logger.info(
        "Making the %s model of CLIP %s for OpenVINO, once for these weights; it takes minutes.", precision, model
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder.parent)
        # Weights of a model go into this folder, never a picture.
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".clip-openvino-"))
    except OSError as error:
        raise DetectorError(
            f"The OpenVINO model cannot be kept in {folder.parent} ({foreign(error)}).",
            hint="Set CACHE_DIR to a folder that can be written.",
        ) from error
    try:
        order = {
            "model": model,
            "config": open_clip.get_model_config(model),
            "weights": str(weights.resolve()),
            "folder": str(made),
            "precision": precision,
        }
        _run(order, stop)
        # If another start was faster, its folder stays: both hold the same.
        with contextlib.suppress(OSError):
            made.rename(folder)
        if not (folder / MODEL_FILE).is_file():
            raise DetectorError(f"The OpenVINO model could not be put into {folder}.")
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _run(order: dict[str, Any], stop: threading.Event | None) -> None:
    command = [sys.executable, "-m", "lemmy_safety.detectors.clip.encoders.openvino_build"]
    with subprocess.Popen(  # noqa: S603 - our own module, by the interpreter that runs us
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as program:
        # Kept open until the end: the program ends when this closes, which also happens if this process is killed.
        # ``communicate`` would close it at once.
        orders, program.stdin = program.stdin, None
        try:
            if orders is not None:
                orders.write(f"{json.dumps(order)}\n")
                orders.flush()
            while True:
                try:
                    _, errors = program.communicate(timeout=_LOOK_S)
                    break
                except subprocess.TimeoutExpired:
                    if stop is not None and stop.is_set():
                        raise DetectorError("The OpenVINO model was not finished: stopped.") from None
        except BrokenPipeError:
            _, errors = program.communicate()
        finally:
            if program.poll() is None:
                program.kill()
            if orders is not None:
                with contextlib.suppress(OSError):
                    orders.close()
    if program.returncode:
        raise DetectorError(f"The OpenVINO model cannot be made here: {_last_line(errors) or program.returncode}.")


def _remove_stale(parent: Path) -> None:
    for folder in parent.glob(".clip-openvino-*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _STALE_S:
                shutil.rmtree(folder, ignore_errors=True)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip().rstrip(".") if lines else ""
