"""Detectors and the policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.wiring.folders import at_home, cache_dir, check_folder_of_models

if TYPE_CHECKING:
    import threading
    from collections.abc import Collection

    from lemmy_safety.detectors.base import Detector
    from lemmy_safety.policy import Policy
    from lemmy_safety.settings import Settings


def build_detectors(
    settings: Settings,
    names: Collection[str] = (),
    *,
    lazy: bool = False,
    fetch: bool = True,
    stop: threading.Event | None = None,
) -> tuple[Detector, ...]:
    """The detectors given by ``names``, or else by the settings, cheapest first, not yet opened.

    With ``lazy``, opening only checks that models exist; the first picture loads them. Without ``fetch``, weights that
    are not on this machine are an error, and are not downloaded. ``stop`` ends long preparations.
    """
    made: list[Detector] = []
    names = names or settings.detectors
    if "hashes" in names:
        from lemmy_safety.detectors.hashes.detector import HashesDetector

        made.append(HashesDetector(at_home(settings.hash_list, "HASH_LIST")))
    if "nudenet" in names:
        from lemmy_safety.detectors.nudenet import NudenetDetector

        made.append(NudenetDetector(min_score=settings.nudenet_min_score))
    if "clip" in names:
        from lemmy_safety.detectors.clip.detector import ClipDetector
        from lemmy_safety.detectors.clip.heads.horde.head import HordeHead
        from lemmy_safety.detectors.clip.model import ClipModel

        caches = cache_dir(settings)
        check_folder_of_models()
        model = ClipModel(
            name=settings.clip_model,
            weights=at_home(settings.clip_weights, "CLIP_WEIGHTS"),
            device=settings.device,
            batch_size=settings.clip_batch,
            cache_dir=caches,
            fetch=fetch,
        )
        horde = HordeHead(
            use_new_safety=settings.use_new_safety,
            danbooru=settings.danbooru,
            danbooru_weights=at_home(settings.danbooru_weights, "DANBOORU_WEIGHTS"),
            fetch=fetch,
        )
        screen = "off" if settings.exact else settings.clip_screen
        made.append(ClipDetector(model, [horde], screen=screen, lazy=lazy, stop=stop))
    return tuple(made)


def build_policy(settings: Settings) -> Policy:
    """The meaning of findings, from the settings."""
    from lemmy_safety.policy import build_policy as build

    return build(nudenet_flags=settings.nudenet_flags, anomaly_flags=settings.anomaly_flags)
