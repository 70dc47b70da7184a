"""Options: which detectors check a picture, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lemmy_safety.settings.option import option

SECTION = "Detectors"


@dataclass(frozen=True, kw_only=True)
class DetectorSettings:
    """Which detectors check a picture, and how."""

    detectors: tuple[str, ...] = option(
        ("hashes", "clip"),
        "Which detectors look at each picture, separated by commas.",
        kind=tuple,
        section=SECTION,
        flag=True,
        env=("DETECTORS",),
        choices=("hashes", "clip", "nudenet"),
    )
    skip_plain: bool = option(
        True,
        "Show classifiers no picture that has nothing on it (one flat colour, a few pixels); hashes see all.",
        kind=bool,
        section=SECTION,
    )
    hash_list: Path | None = option(
        None,
        "hashes: file of known hashes, one 'sha256 <hex>' or 'pdq <hex>' a line.",
        kind=Path,
        section=SECTION,
        env=("HASH_LIST",),
    )
    model_ttl: float = option(
        3600.0,
        "Daemon: seconds without a picture after which models leave memory and the GPU, until the next one; 0: never.",
        kind=float,
        section=SECTION,
        minimum=0,
        maximum=604_800,
    )
    device: str = option(
        "auto",
        "clip: where the model runs.",
        kind=str,
        section=SECTION,
        flag=True,
        choices=("auto", "cuda", "mps", "xpu", "cpu"),
    )
    clip_model: str = option(
        "ViT-L-14",
        "clip: which model; the rules were tuned on ViT-L-14.",
        kind=str,
        section=SECTION,
        env=("CLIP_MODEL",),
        choices=("ViT-L-14", "ViT-H-14"),
    )
    clip_weights: Path | None = option(
        None,
        "clip: weights file or prepared folder; without it they are fetched once from the model hub.",
        kind=Path,
        section=SECTION,
        env=("CLIP_WEIGHTS",),
    )
    clip_batch: int = option(
        0,
        "clip: pictures per batch; 0 chooses by device.",
        kind=int,
        section=SECTION,
        env=("CLIP_BATCH",),
        minimum=0,
        maximum=4096,
    )
    exact: bool = option(
        False,
        "clip: let the reference look at every picture, instead of only at those that a fast screen cannot clear.",
        kind=bool,
        section=SECTION,
        flag=True,
    )
    clip_screen: str = option(
        "auto",
        "clip: which fast model screens before the reference; auto takes what this machine is fastest with.",
        kind=str,
        section=SECTION,
        env=("CLIP_SCREEN",),
        choices=("auto", "off", "openvino-int8", "openvino-bf16", "torch-bf16", "torch-fp16"),
    )
    use_new_safety: bool = option(
        True,
        "clip: horde_safety's present rules; false picks its older check_for_csam rules.",
        kind=bool,
        section=SECTION,
        env=("USE_NEW_SAFETY",),
    )
    danbooru: bool = option(
        False,
        "clip: also use DeepDanbooru for drawings (614 MB more).",
        kind=bool,
        section=SECTION,
        env=("DANBOORU",),
    )
    danbooru_weights: Path | None = option(
        None,
        "clip: DeepDanbooru weights file; without it they are fetched once.",
        kind=Path,
        section=SECTION,
        env=("DANBOORU_WEIGHTS",),
    )
    nudenet_min_score: float = option(
        0.6,
        "nudenet: score from which a class counts.",
        kind=float,
        section=SECTION,
        env=("NUDENET_MIN_SCORE",),
        minimum=0.2,
        maximum=1,
    )
    nudenet_flags: bool = option(
        False,
        "nudenet: exposed nudity flags a picture by itself; otherwise it is recorded as nsfw only.",
        kind=bool,
        section=SECTION,
        env=("NUDENET_FLAGS",),
    )
