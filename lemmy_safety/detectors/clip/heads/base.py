"""The contract of a head: features of a picture in, labels out, and the proof of which pictures it cannot flag.

All heads read the same features, so that one pass through the model serves all of them. The screen
(``screen/screening.py``) replaces the model with a faster encoder and asks each head's proof what an error of that size
could change. The model is skipped only if no head could flag a picture; with a head that has no proof, the model judges
every picture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt
    import torch
    from PIL import Image

    from lemmy_safety.detectors.clip.encoders.text_features import TextFeatures

    Similarities: TypeAlias = npt.NDArray[np.float64]
    Flags: TypeAlias = npt.NDArray[np.bool_]

#: A head's result for one picture: the labels that apply, with details for the record.
Hits: TypeAlias = Mapping[str, Mapping[str, Any]]


class ProofUnavailable(Exception):
    """A head cannot prove what it cannot flag; every picture must be judged at reference precision."""


@dataclass(frozen=True, slots=True)
class Proven:
    """What is proven about N pictures, each field (N,).

    ``cannot_flag``: the head can give only mild labels. ``possible``, by mild label: it may give that label;
    ``certain``: it will.
    """

    cannot_flag: Flags
    possible: Mapping[str, Flags]
    certain: Mapping[str, Flags]


class Proof(ABC):
    """The conservative test of one head."""

    def about(self, similarities: Similarities, error_bound: float) -> Proven:
        """What the head can say about pictures with these similarities (N, K) to its directions, each off by up to
        ``error_bound``.

        A picture with a similarity that is NaN is never cleared.

        :raises ValueError: the bound is negative, infinite or not a number.
        """
        if not 0 <= error_bound < np.inf:
            raise ValueError(f"An error bound of {error_bound} bounds nothing.")
        sound: Flags = np.logical_and.reduce(np.isfinite(similarities), axis=1)
        known = np.where(sound[:, np.newaxis], similarities.astype(np.float64), 0.0)
        proven = self.between(known - error_bound, known + error_bound)
        return Proven(
            proven.cannot_flag & sound,
            {label: possible | ~sound for label, possible in proven.possible.items()},
            {label: certain & sound for label, certain in proven.certain.items()},
        )

    @abstractmethod
    def between(self, low: Similarities, high: Similarities) -> Proven:
        """What the head can say about pictures whose similarities lie between ``low`` and ``high``, each (N, K), which
        it
        does not change. It must allow for any rounding between a picture's features and its labels.
        """


class Head(ABC):
    """One way to read CLIP features. Opened once, called by one thread at a time, closed."""

    #: Its name in errors and logs.
    name: ClassVar[str]

    #: The domain of the policy in which its labels are judged.
    domain: ClassVar[str]

    #: The labels that it can give a picture, gravest first. No other head has any of them.
    labels: ClassVar[tuple[str, ...]]

    #: Labels that lead to no action: a picture that the screen cleared can still get them, marked as the screen's.
    mild: ClassVar[frozenset[str]] = frozenset()

    @property
    @abstractmethod
    def version(self) -> str:
        """Rules and weights behind its labels, known before ``open``. If it changes, verdicts may differ.

        :raises MissingExtra: a package whose version is part of it is not installed.
        """

    def import_packages(self) -> None:  # noqa: B027 - most need none of their own
        """Import what ``open`` needs.

        :raises ImportError: something is not installed.
        """

    def find(self) -> None:  # noqa: B027 - most have no file
        """Check everything for which ``open`` would fail before it loads anything.

        :raises DetectorError: a file is missing or invalid.
        """

    @property
    def weights_folders(self) -> Sequence[Path]:
        """Folders in which its package may have left weights of the CLIP model, in the hub's layout."""
        return ()

    @abstractmethod
    def open(self, texts: TextFeatures, device: str) -> None:
        """Load what it needs to judge. ``device`` is for its own models.

        :raises DetectorError: that failed.
        """

    def close(self) -> None:  # noqa: B027 - most hold little
        """Free what ``open`` loaded. Closing twice is fine."""

    @property
    def needs_image(self) -> bool:
        """Whether ``judge`` also needs the picture itself."""
        return False

    @property
    @abstractmethod
    def directions(self) -> torch.Tensor:
        """What features are compared with: unit vectors (K, D), fp32, on the CPU. Its proof refers to similarities to
        these,
        in this order.
        """

    @property
    @abstractmethod
    def digest(self) -> str:
        """What ``directions`` are made from, apart from the CLIP model: other directions give another text."""

    @abstractmethod
    def judge(self, features: torch.Tensor, image: Image.Image | None = None) -> Hits:
        """Its result for the picture with these features, (D,), fp32, on the CPU; ``image`` is RGB.

        :raises DetectorError: there is no answer; this is not a verdict.
        """

    def learn_proof(self) -> Proof:
        """The proof of which pictures it cannot flag; may take seconds, after ``open``.

        :raises ProofUnavailable: there is none, so the screen may not clear anything.
        """
        raise ProofUnavailable(f"the head '{self.name}' has none")
