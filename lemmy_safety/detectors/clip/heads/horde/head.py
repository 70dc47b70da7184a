"""The head of horde_safety: the package's own rules over the features of its words, with or without DeepDanbooru."""

from __future__ import annotations

import functools
import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

from lemmy_safety.detectors.clip.heads.base import Head
from lemmy_safety.detectors.clip.heads.horde.labels import LABELS, NSFW
from lemmy_safety.errors import DetectorError, MissingExtra
from lemmy_safety.records import Domain

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from PIL import Image

    from lemmy_safety.detectors.clip.encoders.text_features import TextFeatures
    from lemmy_safety.detectors.clip.heads.base import Hits, Proof
    from lemmy_safety.detectors.clip.heads.horde.rules import HordeRules


class HordeHead(Head):
    """``csam``, ``underage_subject`` and ``nsfw``, by one of horde_safety's two rule sets."""

    name = "horde"
    domain = Domain.CSAM
    labels = LABELS
    mild = frozenset({NSFW})

    def __init__(
        self,
        *,
        use_new_safety: bool = True,
        danbooru: bool = False,
        danbooru_weights: Path | None = None,
        fetch: bool = True,
    ) -> None:
        """``use_new_safety`` selects the present rules, else the older ones. ``danbooru`` also uses DeepDanbooru for
        drawings, with the weights of this file (None: fetched once, if ``fetch``).
        """
        self._use_new_safety = use_new_safety
        self._danbooru = danbooru
        self._danbooru_weights = danbooru_weights
        self._fetch = fetch
        self._rules: HordeRules | None = None

    @property
    def version(self) -> str:
        """Such as ``horde_safety-0.3.1 new-rules``, with ``+danbooru`` if that is used."""
        rules = "new-rules" if self._use_new_safety else "older-rules"
        return f"{_horde_safety()} {rules}{'+danbooru' if self._danbooru else ''}"

    @property
    def rules(self) -> HordeRules:
        """:raises DetectorError: the head is not open."""
        if self._rules is None:
            raise DetectorError("The rules of horde_safety are not loaded.")
        return self._rules

    def import_packages(self) -> None:
        from lemmy_safety.detectors.clip.heads.horde import rules  # noqa: F401, PLC0415 - transformers takes seconds

    def find(self) -> None:
        if self._danbooru:
            from lemmy_safety.detectors.clip.heads.horde.danbooru import find_danbooru  # noqa: PLC0415

            find_danbooru(self._danbooru_weights, fetch=self._fetch)

    @property
    def weights_folders(self) -> Sequence[Path]:
        from lemmy_safety.detectors.clip.heads.horde.rules import CACHE_FOLDER_PATH  # noqa: PLC0415

        # The folder in which the legacy tool kept its downloads.
        return (Path(CACHE_FOLDER_PATH),)

    def open(self, texts: TextFeatures, device: str) -> None:
        from lemmy_safety.detectors.clip.heads.horde.rules import HordeRules  # noqa: PLC0415

        danbooru = None
        if self._danbooru:
            from lemmy_safety.detectors.clip.heads.horde.danbooru import load_danbooru  # noqa: PLC0415

            danbooru = load_danbooru(self._danbooru_weights, device=device)
        rules = HordeRules(use_new_safety=self._use_new_safety, danbooru_model=danbooru)
        rules.use_text_features(texts(rules.word_lists))
        self._rules = rules

    def close(self) -> None:
        self._rules = None

    @property
    def needs_image(self) -> bool:
        return self.rules.needs_image

    @property
    def directions(self) -> torch.Tensor:
        return self.rules.text_matrix()

    @property
    def digest(self) -> str:
        return self.rules.digest

    def judge(self, features: torch.Tensor, image: Image.Image | None = None) -> Hits:
        return self.rules.judge(features, image).hits

    def learn_proof(self) -> Proof:
        from lemmy_safety.detectors.clip.heads.horde.proof.learning import learn_proof  # noqa: PLC0415

        return learn_proof(self.rules)


@functools.cache
def _horde_safety() -> str:
    try:
        return f"horde_safety-{importlib.metadata.version('horde_safety')}"
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingExtra("clip", needed_for="The clip detector", cause="no module named horde_safety") from error
