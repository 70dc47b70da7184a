"""Several heads as one: each gives its labels, and a picture is clear only if none of them could flag it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from lemmy_safety.detectors.clip.heads.base import Proof, Proven
from lemmy_safety.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch
    from PIL import Image

    from lemmy_safety.detectors.clip.encoders.text_features import TextFeatures
    from lemmy_safety.detectors.clip.heads.base import Head, Hits, Similarities

#: How far a unit vector's length may be from 1 in fp32, with room for rounding over 1,024 numbers.
_UNIT_TOLERANCE = 1e-3


class Heads:
    """The heads of one detector, in the order in which their findings are reported."""

    def __init__(self, heads: Sequence[Head]) -> None:
        """:raises ValueError: there is none, or two have the same label."""
        labels = [label for head in heads for label in head.labels]
        if not heads or len(labels) != len(set(labels)):
            raise ValueError(f"Heads need labels of their own: {', '.join(labels) or 'none'}.")
        self._heads = tuple(heads)
        self.mild = frozenset().union(*(head.mild for head in heads))

    def __iter__(self) -> Iterator[Head]:
        return iter(self._heads)

    @property
    def version(self) -> str:
        return " ".join(head.version for head in self._heads)

    @property
    def digest(self) -> str:
        return " ".join(head.digest for head in self._heads)

    @property
    def needs_image(self) -> bool:
        return any(head.needs_image for head in self._heads)

    @property
    def directions(self) -> torch.Tensor:
        """The directions of all heads, one head after another, (K, D).

        :raises ValueError: they are not unit vectors; one error bound fits only those.
        """
        import torch  # noqa: PLC0415 - takes seconds

        directions = torch.cat([head.directions for head in self._heads])
        if not ((directions.norm(dim=-1) - 1).abs() < _UNIT_TOLERANCE).all():
            raise ValueError("Directions of heads must be unit vectors.")
        return directions

    def open(self, texts: TextFeatures, device: str) -> None:
        for head in self._heads:
            head.open(texts, device)

    def close(self) -> None:
        for head in self._heads:
            head.close()

    def judge(self, features: torch.Tensor, image: Image.Image | None = None) -> Hits:
        """The results of all heads for the picture with these features.

        :raises DetectorError: one of them has no answer, or gives a label that it has not declared.
        """
        hits: dict[str, Mapping[str, Any]] = {}
        for head in self._heads:
            said = head.judge(features, image)
            if undeclared := said.keys() - head.labels:
                raise DetectorError(f"The head '{head.name}' says what it has not declared: {', '.join(undeclared)}.")
            hits |= said
        return hits

    def learn_proof(self) -> Proof:
        """:raises ProofUnavailable: one of them has none."""
        return _ProofOfAll([(head.learn_proof(), len(head.directions)) for head in self._heads])


class _ProofOfAll(Proof):
    """Applies each head's proof to its own columns."""

    def __init__(self, proofs: Sequence[tuple[Proof, int]]) -> None:
        """Each with the number of its head's directions."""
        ends = list(itertools.accumulate(count for _, count in proofs))
        self._parts = [(proof, slice(end - count, end)) for (proof, count), end in zip(proofs, ends, strict=True)]

    def between(self, low: Similarities, high: Similarities) -> Proven:
        each = [proof.between(low[:, columns], high[:, columns]) for proof, columns in self._parts]
        return Proven(
            np.logical_and.reduce([proven.cannot_flag for proven in each]),
            {label: flags for proven in each for label, flags in proven.possible.items()},
            {label: flags for proven in each for label, flags in proven.certain.items()},
        )
