"""Screened verdicts against exact ones: a full-size CLIP with random weights over thousands of pictures.

    python evaluation/screen_verdicts.py --pictures 2000 --shares 0 0.05 0.2 --work /path/for/weights

The words' features are planted so that about those shares of the pictures come closer to what the rules look for than a
screen with the measured error can clear. For each share: how many pictures the screen cleared, how many went to the
reference, how many verdicts differ (must be 0), and images a second. The last lines force the error bound to nothing,
without a watch: there verdicts must differ, or this program could not find a difference. --model ViT-B-32 is an
eighteenth of the default's arithmetic, for processors without matrix units, where the default takes hours.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import suite  # noqa: F401
import torch
from machine import print_header
from random_weights import random_checkpoint
from support.clip.pictures import sample_pictures
from support.clip.planted_words import planted_words

from lemmy_safety.detectors.clip.device import choose_device
from lemmy_safety.detectors.clip.encoders.reference import load_image_encoder
from lemmy_safety.detectors.clip.heads.horde.head import HordeHead
from lemmy_safety.detectors.clip.heads.together import Heads
from lemmy_safety.detectors.clip.screen.choice import StageRequest, open_stages, ready_stages
from lemmy_safety.detectors.clip.screen.error_bound import ErrorBound
from lemmy_safety.detectors.clip.screen.screening import Screening
from lemmy_safety.detectors.clip.screen.stage import Stage
from lemmy_safety.detectors.clip.weights.find import weights_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np

    from lemmy_safety.detectors.clip.answer import FrameAnswer
    from lemmy_safety.detectors.clip.encoders.reference import ClipImageEncoder


class ForcedBound(ErrorBound):
    """A bound of nothing that learns nothing."""

    def observe(self, error: float) -> bool:  # noqa: ARG002
        return False


def main() -> None:
    options = parse()
    device = choose_device(options.device)
    print_header(
        "screened verdicts",
        {
            "seed": options.seed,
            "model": options.model,
            "device": device,
            "screen": options.screen,
            "pictures": options.pictures,
            "threads": torch.get_num_threads(),
        },
    )
    weights = random_checkpoint(options.work, options.seed, model=options.model)
    reference = load_image_encoder(options.model, weights, device=device)
    started = time.monotonic()
    features = exact_features(reference, options)
    seconds = time.monotonic() - started
    print(f"exact: {len(features)} pictures in {seconds:.0f} s, {len(features) / seconds:.2f} images/s", flush=True)
    comparison = Comparison(options, device, weights, reference, features)
    for share in options.shares:
        comparison.of_planted(share)
    comparison.of_a_forced_bound(options.shares[-1])
    reference.close()


class Comparison:
    """Of the verdicts of a screen with those of the reference, over the same pictures, with words of our own choice."""

    def __init__(
        self,
        options: argparse.Namespace,
        device: torch.device,
        weights: Path,
        reference: ClipImageEncoder,
        features: torch.Tensor,
    ) -> None:
        self._options = options
        self._reference = reference
        self._features = features
        head = HordeHead()
        self._heads = Heads([head])
        self._heads.open(nothing_yet, str(device))
        self._rules = head.rules
        self._request = StageRequest(
            model=options.model,
            weights=weights,
            weights_digest=weights_digest(weights),
            directions_digest=self._rules.digest,
            directions=torch.empty(0),
            cache_dir=options.work,
        )
        self._names = ready_stages(options.screen, device, self._request)
        self._stages: list[Stage] = []

    def of_planted(self, share: float) -> None:
        """This share of the pictures comes closer to the limits than the screen's error; the others do not."""
        margin = min((stage.bound.value for stage in self._stages), default=0.0)
        # Twice, because which words leave this share in doubt depends on the error that is measured with the words.
        for _ in range(2):
            self._plant(share, margin)
            digest = f"planted {share} {margin} {self._options.seed}"
            planted = replace(self._request, directions=self._rules.text_matrix(), directions_digest=digest)
            # Also one that saves no time on this machine: whether it is right is asked, not whether it pays.
            self._stages = open_stages(self._names, self._reference, planted, only_useful=False)
            margin = min((stage.bound.value for stage in self._stages), default=0.0)
        self._report(f"share {share:.0%}", self._stages)

    def of_a_forced_bound(self, share: float) -> None:
        """Pictures lie around the limits, whatever a screen can prove: there an error changes verdicts."""
        self._plant(share, 0.0)
        forced = [Stage(stage.encoder, ForcedBound(largest=0.0, checked=0, cost=0.0)) for stage in self._stages]
        self._report("bound forced to 0", forced, watch=lambda _: False)

    def _plant(self, share: float, margin: float) -> None:
        words = planted_words(self._rules, self._features, confirmed=share, seed=self._options.seed, margin=margin)
        self._rules.use_text_features(words)

    def _report(self, title: str, stages: list[Stage], watch: Callable[[int], bool] | None = None) -> None:
        exact = [self._rules.judge(row).hits for row in self._features]
        screening = Screening(
            heads=self._heads,
            proof=self._heads.learn_proof(),
            stages=stages,
            reference=self._reference,
            watch=watch,
        )
        report(title, screening, exact, self._options)


def nothing_yet(word_lists: Sequence[tuple[str, ...]]) -> Mapping[tuple[str, ...], torch.Tensor]:
    """Stands in for the words' features until they are planted."""
    return {words: torch.zeros(len(words), 1) for words in word_lists}


def batches(options: argparse.Namespace, size: int) -> Iterator[list[np.ndarray]]:
    """The same pictures at every call; never all of them in memory."""
    pictures = sample_pictures(options.pictures, seed=options.seed)
    while batch := list(islice(pictures, size)):
        yield batch


def exact_features(reference: ClipImageEncoder, options: argparse.Namespace) -> torch.Tensor:
    kept = options.work / f"features-{options.model}-{options.seed}-{options.pictures}-{reference.device}.pt"
    if kept.is_file():
        print("exact features were kept from an earlier run")
        found: torch.Tensor = torch.load(kept)
        return found
    features = torch.cat([reference.encode_images(batch) for batch in batches(options, reference.batch_size)])
    torch.save(features, kept)
    return features


def report(title: str, screening: Screening, exact: Sequence[Any], options: argparse.Namespace) -> None:
    answers: list[FrameAnswer] = []
    seconds = 0.0
    for batch in batches(options, screening.batch_size):
        started = time.monotonic()
        answers += screening.judge(batch)
        seconds += time.monotonic() - started
    counts = screening.statistics()
    outcomes = different(answers, exact, lambda hits: ("csam" in hits, "underage_subject" in hits))
    sure = [(answer, hits) for answer, hits in zip(answers, exact, strict=True) if "nsfw" not in answer.unsure]
    nsfw = different([answer for answer, _ in sure], [hits for _, hits in sure], lambda hits: "nsfw" in hits)
    flagged = sum("csam" in hits for hits in exact)
    young = sum("underage_subject" in hits for hits in exact)
    print(
        f"{title}: {len(answers)} pictures ({flagged} csam, {young} under-age to the rules), "
        f"{counts.cleared} cleared ({counts.watched} watched), {counts.confirmed} confirmed "
        f"({counts.confirmed / max(1, counts.screened):.1%}); {outcomes} outcomes differ, {nsfw} of {len(sure)} sure nsfw; "
        f"{len(answers) / seconds:.2f} images/s"
    )
    for stage in counts.stages:
        print(f"  {stage}", flush=True)


def different(answers: Sequence[FrameAnswer], exact: Sequence[Any], what: Callable[[Any], Any]) -> int:
    return sum(what(answer.hits) != what(hits) for answer, hits in zip(answers, exact, strict=True))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cuda, mps, xpu or cpu")
    parser.add_argument("--model", default="ViT-L-14", help="as CLIP_MODEL")
    parser.add_argument("--screen", default="auto", help="auto or the name of one encoder")
    parser.add_argument("--work", type=Path, required=True, help="folder for weights and quantised models (2 GB)")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--shares", type=float, nargs="*", default=[0.0, 0.05, 0.2])
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
