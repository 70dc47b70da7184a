"""The reference rules: horde_safety's own code, called with precomputed features.

Both rule sets of the package are called unchanged: ``NSFWChecker.check_for_nsfw`` (the present rules) and
``check_for_csam`` (the older ones). Words and thresholds stay in that package and are never copied here: we find the
lists by calling the rules once and noting the lists that they request.
"""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from loguru import logger as loguru_logger
from PIL import Image

from lemmy_safety.detectors.clip.encoders.text_features import words_digest
from lemmy_safety.errors import DetectorError
from lemmy_safety.foreign import foreign

# The package logs to standard error through loguru at levels that were never configured, during import and later.
loguru_logger.disable("horde_safety")

try:
    from horde_safety import CACHE_FOLDER_PATH
    from horde_safety.csam_checker import check_for_csam
    from horde_safety.nsfw_checker_class import NSFWChecker
except OSError as error:
    # The package creates its model folder during import.
    raise DetectorError(
        f"horde_safety cannot create its folder for models ({foreign(error)}).",
        hint="Set HF_HOME to a folder you can write.",
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["CACHE_FOLDER_PATH", "HordeResult", "HordeRules"]

#: What the legacy tool passed to the older rules for every picture: nothing is known of how it was made.
_NO_PROMPT = ""
_UNKNOWN_ORIGIN = {"nsfw": True, "tags": []}

#: Replaces the picture if only its features are used.
_PLACEHOLDER = Image.new("RGB", (1, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class HordeResult:
    """The rules' result for one picture.

    ``hits`` maps the labels that apply to their details, as the package reports them. ``reference`` is the package's
    own answer: an ``NSFWResult``, or for the older rules the tuple of ``check_for_csam``.
    """

    hits: Mapping[str, Mapping[str, Any]]
    reference: Any = field(repr=False)


class _GivenFeatures:
    """The two methods of an interrogator that the rules call, answered from given features."""

    def __init__(self) -> None:
        self.text: Mapping[tuple[str, ...], torch.Tensor] = {}
        self.image: torch.Tensor | None = None

    def image_to_features(self, image: Image.Image) -> torch.Tensor | None:  # noqa: ARG002 - the package's signature
        return self.image

    def similarities(self, image_features: torch.Tensor, text_array: Sequence[str]) -> list[float]:
        text = self.text.get(tuple(text_array))
        if text is None:
            raise DetectorError(f"horde_safety asks for {len(text_array)} words whose features were not computed.")
        # Exactly clip_interrogator's expression, in its order: another one may differ in the last bit.
        with _one_thread():
            similarity = text @ image_features.T
        result: list[float] = similarity.T[0].tolist()
        return result


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Compute without torch's thread pool.

    A product this small takes 0.05 ms on one core, and 45 ms (measured) if it is split among cores that are decoding
    pictures at the same time. Splitting also changes its last bit; unsplit, answers are the same on any
    number of cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _NotedWords:
    """Replaces an interrogator to find out which word lists the rules request; all similarities are zero."""

    def __init__(self) -> None:
        self.lists: list[tuple[str, ...]] = []

    def image_to_features(self, image: Image.Image) -> None:
        pass

    def similarities(self, image_features: None, text_array: Sequence[str]) -> list[float]:  # noqa: ARG002
        self.lists.append(tuple(text_array))
        return [0.0] * len(text_array)


class _GivenSimilarities:
    """Replaces an interrogator and answers from a table, to run the rules on pictures that do not exist."""

    def __init__(self) -> None:
        self.similarity_of: Mapping[str, float] = {}

    def image_to_features(self, image: Image.Image) -> None:
        pass

    def similarities(self, image_features: None, text_array: Sequence[str]) -> list[float]:  # noqa: ARG002
        return [self.similarity_of[word] for word in text_array]


class HordeRules:
    """One of horde_safety's two rule sets.

    Call ``use_text_features`` with the features of every list in ``word_lists`` before the first ``judge``. For one
    thread at a time.
    """

    def __init__(self, *, use_new_safety: bool, danbooru_model: Any = None) -> None:
        self.use_new_safety = use_new_safety
        self.needs_image = danbooru_model is not None
        self._features = _GivenFeatures()
        self._checker = NSFWChecker(self._features, danbooru_model)
        self._given = _GivenSimilarities()
        #: The package's checker over made-up similarities: its word lists with their thresholds are public.
        self.checker: Any = NSFWChecker(self._given, None)
        if not use_new_safety:
            # The settings chose the deprecated rules; a warning for every picture does not help.
            warnings.filterwarnings("ignore", message="check_for_csam is deprecated", category=DeprecationWarning)
        self.word_lists = self._ask_for_words(danbooru_model)

    def _ask_for_words(self, danbooru_model: Any) -> tuple[tuple[str, ...], ...]:
        noted = _NotedWords()
        self._ask(noted, NSFWChecker(noted, danbooru_model), _PLACEHOLDER)
        return tuple(dict.fromkeys(noted.lists))

    def words(self) -> tuple[str, ...]:
        """Every word that the rules use, once each."""
        return tuple(dict.fromkeys(word for words in self.word_lists for word in words))

    @property
    def digest(self) -> str:
        """A digest of the word lists: 64 hex digits."""
        return words_digest(self.word_lists)

    def use_text_features(self, features: Mapping[tuple[str, ...], torch.Tensor]) -> None:
        """Set the features of the word lists: fp32, (len(words), D), on the CPU, by list.

        :raises DetectorError: a list of ``word_lists`` is missing or has another number of rows.
        """
        for words in self.word_lists:
            if words not in features or features[words].shape[0] != len(words):
                raise DetectorError(f"The features of a list of {len(words)} words are missing.")
        self._features.text = features

    def text_matrix(self) -> torch.Tensor:
        """The features of ``words()``, (W, D), fp32; for a word in several lists, those from the first one."""
        rows: dict[str, torch.Tensor] = {}
        for words in self.word_lists:
            for word, row in zip(words, self._features.text[words], strict=True):
                rows.setdefault(word, row)
        return torch.stack([rows[word] for word in self.words()])

    def judge(self, features: torch.Tensor, image: Image.Image | None = None) -> HordeResult:
        """The rules' result for the picture with these features, (D,) or (1, D), fp32, on the CPU.

        Only DeepDanbooru uses ``image`` (RGB), if ``needs_image``.

        :raises DetectorError: the rules gave no answer; this is not a verdict.
        """
        if image is None and self.needs_image:
            raise DetectorError("DeepDanbooru needs the picture itself.")
        self._features.image = features.reshape(1, -1)
        try:
            answer = self._ask(self._features, self._checker, image or _PLACEHOLDER)
        except RuntimeError as error:  # torch's
            raise DetectorError(
                f"{'DeepDanbooru' if self.needs_image else 'horde_safety'} failed: {foreign(error)}."
            ) from error
        finally:
            self._features.image = None
        if answer is None:
            raise DetectorError("horde_safety could not judge the picture (DeepDanbooru failed).")
        return self._result(answer)

    def judge_similarities(self, similarity_of: Mapping[str, float]) -> HordeResult:
        """The rules' result for a picture with these similarities to their words, without DeepDanbooru."""
        self._given.similarity_of = similarity_of
        return self._result(self._ask(self._given, self.checker, _PLACEHOLDER))

    def _result(self, answer: Any) -> HordeResult:
        hits = _hits_of_new_rules(answer) if self.use_new_safety else _hits_of_older_rules(answer)
        return HordeResult(hits=hits, reference=answer)

    def _ask(self, interrogator: Any, checker: Any, image: Image.Image) -> Any:
        if self.use_new_safety:
            return checker.check_for_nsfw(image)
        # Without DeepDanbooru exactly the legacy tool's call; the checker is what gives these rules DeepDanbooru.
        has_danbooru = checker.deep_danbooru_model is not None
        return check_for_csam(
            interrogator, image, _NO_PROMPT, _UNKNOWN_ORIGIN, nsfw_checker=checker if has_danbooru else None
        )


def _hits_of_new_rules(answer: Any) -> dict[str, dict[str, Any]]:
    subject = {"csam_predicates_matched": dict(answer.csam_predicates_matched), "is_anime": answer.is_anime}
    nudity: dict[str, Any] = {
        "nsfw_concepts_identified": dict(answer.nsfw_concepts_identified),
        "is_anime": answer.is_anime,
    }
    if answer.anime_concepts_identified:
        nudity["anime_concepts_identified"] = dict(answer.anime_concepts_identified)
    applies = {
        "csam": (answer.is_csam, {**subject, **nudity}),
        "underage_subject": (answer.is_underage_subject, subject),
        "nsfw": (answer.is_nsfw, nudity),
    }
    return {label: details for label, (is_hit, details) in applies.items() if is_hit}


def _hits_of_older_rules(answer: Any) -> dict[str, dict[str, Any]]:
    is_csam, _, found = answer
    found_uc = [_without_nothing(row) for row in found["found_uc"]]
    found_lewd = [_without_nothing(row) for row in found["found_lewd"]]
    hits = {}
    if is_csam:
        hits["csam"] = {"found_uc": found_uc, "found_lewd": found_lewd}
    if found_lewd:
        hits["nsfw"] = {"found_lewd": found_lewd}
    return hits


def _without_nothing(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}
