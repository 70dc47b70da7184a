"""Makes an OpenVINO model from a checkpoint's image tower, once, on the machine that will use it.

Runs as a separate program (``python -m lemmy_safety.detectors.clip.encoders.openvino_build``): quantising ViT-L-14
takes
6 GB that a scan would not get back, and on a machine with too little memory the kernel kills this program, not the
scan.
Reads one JSON object on a line of standard input, as ``build`` describes, and writes only the model's files. It ends
when
standard input ends: then the parent process is gone, perhaps killed.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemmy_safety.errors import DetectorError, LemmySafetyError
from lemmy_safety.lifeline import end_with
from lemmy_safety.packages import is_leftover, is_there

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Increase this when the recipe changes: models made by an older one are then made again.
RECIPE = "1"

MODEL_FILE = "model.xml"

#: What the extra ``openvino`` installs.
PACKAGES = ("openvino", "nncf")

#: Pictures that show how large the numbers inside the model become. Uses their largest values, not their mean:
#: with the mean, int8 clips larger values, and errors were up to four times as large (measured, random weights).
_CALIBRATION_PICTURES = 24
_CALIBRATION_SEED = 1

#: Peak memory of quantising per byte of the tower in fp32, and of the libraries themselves (measured: 6.1 GB, ViT-L-14).
_MEMORY_PER_BYTE = 4.5
_MEMORY_BASE = 800_000_000


def build(model: str, config: Mapping[str, Any], weights: Path, folder: Path, precision: str) -> None:
    """Write ``model.xml`` and ``model.bin`` into ``folder``.

    ``config`` is open_clip's configuration of ``model``; ``precision`` is ``int8``, or ``bf16`` for a model without
    quantisation, which OpenVINO computes in bf16.

    :raises DetectorError: a package is missing, or the machine has too little memory.
    """
    import_openvino()
    import open_clip  # noqa: PLC0415
    import openvino  # noqa: PLC0415
    import torch  # noqa: PLC0415

    from lemmy_safety.detectors.clip.encoders.reference import load_image_encoder  # noqa: PLC0415

    # Register a model that only the calling program knows, by its configuration.
    described = folder / f"{model}.json"
    described.write_text(json.dumps(dict(config)), encoding="utf-8")
    open_clip.add_model_config(described)
    described.unlink()
    encoder = load_image_encoder(model, weights, device="cpu")
    # OpenVINO treats weights as constants only if they are not trainable.
    encoder.visual.requires_grad_(requires_grad=False)
    size = sum(part.numel() * part.element_size() for part in encoder.visual.parameters())
    if precision == "int8":
        _check_memory(size)
    numbers = encoder.preparation.numbers(torch.zeros(2, *_square_shape(encoder.visual), dtype=torch.uint8))
    converted = openvino.convert_model(encoder.visual, example_input=numbers, input=[-1, *numbers.shape[1:]])
    if precision == "int8":
        converted = _quantised(converted, encoder)
    openvino.save_model(converted, folder / MODEL_FILE, compress_to_fp16=False)
    encoder.close()


def has_openvino() -> bool:
    """Whether the packages of the extra ``openvino`` are installed, and more than their folders."""
    return all(is_there(name) and not is_leftover(name) for name in PACKAGES)


def import_openvino() -> None:
    """Import OpenVINO without the package that reports its use to its maker: nothing leaves this machine.

    :raises ImportError: it is not installed.
    """
    modules: dict[str, Any] = sys.modules
    # Both openvino and nncf work without it if it is not installed; None marks it as such.
    modules["openvino_telemetry"] = None
    import openvino  # noqa: F401, PLC0415


def _square_shape(visual: Any) -> tuple[int, int, int]:
    size = visual.image_size
    height, width = size if isinstance(size, tuple) else (size, size)
    return height, width, 3


def _check_memory(tower: int) -> None:
    import psutil  # noqa: PLC0415 - nncf needs it, so it is installed

    needed, there = tower * _MEMORY_PER_BYTE + _MEMORY_BASE, psutil.virtual_memory().available
    if there < needed:
        raise DetectorError(f"making it needs {needed / 1e9:.1f} GB of memory and {there / 1e9:.1f} GB are free")


def _quantised(model: Any, encoder: Any) -> Any:
    import nncf  # noqa: PLC0415
    import torch  # noqa: PLC0415
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters  # noqa: PLC0415
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet  # noqa: PLC0415

    from lemmy_safety.detectors.generated_pictures import calibration_pictures  # noqa: PLC0415

    logging.getLogger("nncf").setLevel(logging.ERROR)
    pictures = calibration_pictures(_CALIBRATION_PICTURES, seed=_CALIBRATION_SEED)
    squares = [torch.from_numpy(encoder.preparation.square(picture)) for picture in pictures]
    numbers = [encoder.preparation.numbers(square.unsqueeze(0)).numpy() for square in squares]
    return nncf.quantize(
        model,
        nncf.Dataset(numbers),
        subset_size=len(numbers),
        model_type=nncf.ModelType.TRANSFORMER,
        advanced_parameters=AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
        ),
    )


def main() -> int:
    """The program: 0 when the files are written, else 1 with one line on standard error."""
    order = json.loads(sys.stdin.readline())
    end_with(sys.stdin.fileno())
    threading.Thread(target=_end_with_the_input, daemon=True).start()
    try:
        build(order["model"], order["config"], Path(order["weights"]), Path(order["folder"]), order["precision"])
    except LemmySafetyError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    except ImportError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _end_with_the_input() -> None:
    # Bypasses Python's buffer, whose lock a waiting thread would hold when the interpreter shuts down.
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    raise SystemExit(main())
