"""Text features of the word lists: computed once, cached on disk, and read from there at later starts.

This module writes only that cache: a few hundred vectors and digests, no words and nothing of any picture.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lemmy_safety.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

logger = logging.getLogger(__name__)

#: Unit features of lists of words, by list, each (len(words), D), fp32, on the CPU.
TextFeatures: TypeAlias = "Callable[[Sequence[tuple[str, ...]]], Mapping[tuple[str, ...], torch.Tensor]]"

#: Increase this when the meaning of the file changes; older files are then computed again.
_FORMAT = "1"

#: How far a unit vector's length may be from 1 in fp32, with room for rounding over 1,024 numbers.
_UNIT_TOLERANCE = 1e-3


class TextFeatureCache:
    """Features of word lists for one model and one set of weights, in one file of ``folder``.

    ``weights_digest`` and the words identify the file, so it is never used for other weights or other words.
    """

    def __init__(self, folder: Path, *, model: str, weights_digest: str) -> None:
        self._folder = folder
        self._model = model
        self._weights_digest = weights_digest

    def get(
        self, word_lists: Sequence[tuple[str, ...]], encode: Callable[[Sequence[str]], torch.Tensor]
    ) -> dict[tuple[str, ...], torch.Tensor]:
        """Features by word list, each (len(words), D), fp32, unit length, on the CPU.

        ``encode`` is called only if there is no usable file. A damaged file is replaced; a folder that cannot be
        written only makes the next start slower. Both are logged.

        :raises DetectorError: ``encode`` returned something that is not a number.
        """
        path = self.path_for(word_lists)
        features = self._read(path, word_lists)
        if features is None:
            features = {words: encode(words).contiguous() for words in word_lists}
            if not all(_sound(tensor, words) for words, tensor in features.items()):
                raise DetectorError(f"The text model of {self._model} answered values that are not unit vectors.")
            self._write(path, word_lists, features)
        return features

    def path_for(self, word_lists: Sequence[tuple[str, ...]]) -> Path:
        """The file for these words; its name is a digest of everything that the features depend on."""
        identity = "\0".join(self._identity(word_lists).values())
        return self._folder / f"text-features-{hashlib.sha256(identity.encode()).hexdigest()[:32]}.safetensors"

    def _identity(self, word_lists: Sequence[tuple[str, ...]]) -> dict[str, str]:
        return {
            "format": _FORMAT,
            "model": self._model,
            "weights": self._weights_digest,
            "words": words_digest(word_lists),
        }

    def _read(self, path: Path, word_lists: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], torch.Tensor] | None:
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                fits = file.metadata() == self._identity(word_lists)
                features = {words: file.get_tensor(_name(place)).clone() for place, words in enumerate(word_lists)}
        except (SafetensorError, OSError, ValueError) as error:
            logger.warning("The cache of text features %s is damaged (%s); it is computed again.", path, error)
            return None
        if not fits or not all(_sound(tensor, words) for words, tensor in features.items()):
            logger.warning("The cache of text features %s is damaged; it is computed again.", path)
            return None
        return features

    def _write(
        self, path: Path, word_lists: Sequence[tuple[str, ...]], features: Mapping[tuple[str, ...], torch.Tensor]
    ) -> None:
        tensors = {_name(place): features[words] for place, words in enumerate(word_lists)}
        content = save(tensors, metadata=self._identity(word_lists))
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Written to a temporary file and renamed: two programs that start at the same time never read half a file.
            handle, name = tempfile.mkstemp(dir=self._folder, prefix=".text-features-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                Path(name).replace(path)
            except OSError:
                with contextlib.suppress(OSError):
                    Path(name).unlink()
                raise
        except OSError as error:
            logger.warning(
                "Text features cannot be cached in %s (%s); the next start computes them again. "
                "Set CACHE_DIR to a folder that can be written.",
                self._folder,
                error,
            )


def words_digest(word_lists: Sequence[tuple[str, ...]]) -> str:
    """A digest of word lists, their order and their boundaries: 64 hex digits."""
    return hashlib.sha256("\1".join("\0".join(words) for words in word_lists).encode()).hexdigest()


def _name(place: int) -> str:
    return f"list{place}"


def _sound(tensor: torch.Tensor, words: Sequence[str]) -> bool:
    return (
        tensor.dtype == torch.float32
        and tensor.ndim == 2  # noqa: PLR2004 - words by dimensions
        and tensor.shape[0] == len(words)
        and bool(torch.isfinite(tensor).all())
        and bool(((tensor.norm(dim=-1) - 1).abs() < _UNIT_TOLERANCE).all())
    )
