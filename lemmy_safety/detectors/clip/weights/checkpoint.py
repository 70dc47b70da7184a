"""Reads a CLIP checkpoint: checks that it is one, of the expected model, and returns the requested tensors.

Supports three containers, distinguished by content and never by name: safetensors, a zip or pickle written by
torch.save,
and the TorchScript archive in which OpenAI published its weights. Security: safetensors can hold only numbers;
torch.save files are read with ``weights_only=True``, which builds tensors and refuses code; a TorchScript archive is
opened by torch's own interpreter, so use one only from its publisher.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import warnings
import weakref
import zipfile
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from lemmy_safety.detectors.clip.device import is_out_of_memory
from lemmy_safety.errors import DeviceError, WeightsInvalid
from lemmy_safety.foreign import first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

#: OpenAI's archives have these three numbers among the tensors.
_NO_WEIGHTS = frozenset({"input_resolution", "context_length", "vocab_size"})
#: The temperature of CLIP's training loss; not used for features, and stored as [] or [1] depending on the writer.
_TEMPERATURES = frozenset({"logit_scale", "logit_bias"})

_ZIP_MAGIC = b"PK\x03\x04"
#: torch.save before version 1.6; it always wrote pickle protocol 2.
_PICKLE_MAGIC = b"\x80\x02"
_TEXT_START = 64

CAN_MAP = os.name == "posix"
"""Whether tensors are mapped. Windows does not allow deleting or replacing a mapped file; there they are copied."""

_BROKEN = (
    SafetensorError,
    RuntimeError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    AttributeError,
    TypeError,
)


def read_checkpoint(
    path: Path, *, model: str, expected: Mapping[str, torch.Tensor], wanted: Iterable[str]
) -> dict[str, torch.Tensor]:
    """The ``wanted`` tensors of the checkpoint as fp32 on the CPU, after checking all of it.

    ``expected`` are all tensors of the model by name; only their shapes are used. If the file holds fp32 and is
    not a TorchScript archive, the tensors are mapped, not copied: ViT-L-14's picture tower then takes 1.2 GB that
    the system may reclaim and share instead of 1.2 GB of our own. Keep a ``WeightsGuard`` along with such tensors.

    :raises WeightsInvalid: not a checkpoint, damaged, or of another architecture than ``model``.
    :raises DeviceError: the machine has too little memory.
    """
    with _our_errors(path, model):
        load = _open_checked(path, model, expected)
        tensors = {}
        for name in wanted:
            stored = load(name)
            tensor = stored.to(torch.float32, copy=not CAN_MAP, memory_format=torch.contiguous_format)
            if not torch.isfinite(tensor).all():
                raise _invalid(path, model, f"'{name}' holds values that are not numbers")
            tensors[name] = tensor.reshape(expected[name].shape)
    return tensors


class WeightsGuard:
    """Detects that a weights file was written to while its tensors are mapped from it.

    Replacing a file, as downloads do, is harmless: the mapped one lives on. Overwriting it in place
    would change the model in the middle of a scan.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        self._close = weakref.finalize(self, os.close, self._descriptor)
        self._state = self._now()

    def check(self) -> None:
        """:raises WeightsInvalid: the file was changed since this object was made."""
        if self._now() != self._state:
            raise WeightsInvalid(
                f"The weights file {self._path} was changed while it was in use.",
                hint="Start again. To change weights under a running scan, put the new file in the old one's place.",
            )

    def close(self) -> None:
        self._close()

    def _now(self) -> tuple[int, int]:
        state = os.fstat(self._descriptor)
        return state.st_size, state.st_mtime_ns


def check_checkpoint(path: Path, *, model: str, expected: Mapping[str, torch.Tensor]) -> None:
    """Check that the file can be a checkpoint of ``model``, by its index: names and shapes, not the numbers.

    :raises WeightsInvalid: not a checkpoint, damaged, or of another architecture than ``model``.
    """
    with _our_errors(path, model):
        _open_checked(path, model, expected)


@contextlib.contextmanager
def _our_errors(path: Path, model: str) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        if is_out_of_memory(error):
            raise DeviceError(f"Not enough memory to load CLIP {model}.", hint="Free some memory.") from error
        raise _invalid(path, model, f"it is damaged or no checkpoint ({first_line(error)})") from error


def _open_checked(path: Path, model: str, expected: Mapping[str, torch.Tensor]) -> Callable[[str], torch.Tensor]:
    shapes, load = _open(path)
    _check_shapes(path, model, shapes, {name: tuple(tensor.shape) for name, tensor in expected.items()})
    return load


def _open(path: Path) -> tuple[dict[str, tuple[int, ...]], Callable[[str], torch.Tensor]]:
    """The shapes of all tensors in the file and a function that loads one of them."""
    with path.open("rb") as file:
        start = file.read(_TEXT_START)
    if start[8:9] == b"{":
        return _open_safetensors(path)
    if start.startswith(_ZIP_MAGIC):
        with zipfile.ZipFile(path) as archive:
            is_script = any(name.endswith("/constants.pkl") for name in archive.namelist())
        state = _read_script(path) if is_script else torch.load(path, "cpu", weights_only=True, mmap=True)
    elif start.startswith(_PICKLE_MAGIC):
        state = torch.load(path, "cpu", weights_only=True)
    elif not start:
        raise ValueError("the file is empty")
    elif start.isascii():
        raise ValueError(f"it is a text file that starts with {start[:20].decode('ascii')!r}")
    else:
        raise ValueError("neither safetensors nor a file of torch.save")
    tensors = _unwrap(state)
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}, tensors.__getitem__


def _open_safetensors(path: Path) -> tuple[dict[str, tuple[int, ...]], Callable[[str], torch.Tensor]]:
    file: Any = safe_open(path, framework="pt", device="cpu")
    return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}, file.get_tensor  # noqa: SIM118


def _read_script(path: Path) -> dict[str, torch.Tensor]:
    with warnings.catch_warnings():
        # torch marks all of TorchScript as deprecated; OpenAI's files exist in no other form.
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.load", category=FutureWarning)
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.load", category=DeprecationWarning)
        return dict(torch.jit.load(str(path), map_location="cpu").state_dict())


def _unwrap(state: Any) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint: training runs nest them in 'state_dict', distributed ones prefix 'module.'."""
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise TypeError("it holds no tensors by name")
    named = {str(name).removeprefix("module."): value for name, value in state.items()}
    return {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}


def _check_shapes(
    path: Path, model: str, found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]
) -> None:
    names = found.keys() - _NO_WEIGHTS - _TEMPERATURES
    wanted = expected.keys() - _TEMPERATURES
    for name in sorted(names & wanted):
        if found[name] != expected[name]:
            raise _invalid(path, model, f"'{name}' has shape {_shape(found[name])}, not {_shape(expected[name])}")
    if missing := sorted(wanted - names):
        raise _invalid(path, model, f"{len(missing)} tensors are missing, '{missing[0]}' among them")
    if surplus := sorted(names - wanted):
        raise _invalid(path, model, f"it has {len(surplus)} tensors too many, '{surplus[0]}' among them")


def _invalid(path: Path, model: str, reason: str) -> WeightsInvalid:
    return WeightsInvalid(
        f"{path} does not hold the weights of CLIP {model}: {reason}.",
        hint="Fetch the file again, or set CLIP_WEIGHTS to the right one (in open_clip's format, not transformers').",
    )


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
