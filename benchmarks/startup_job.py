"""One start of the program in a process of its own, for ``startup.py``: told in JSON what to start, it answers in JSON.

Imports nothing heavy before the program itself would.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
from peak_memory import PeakMemory

from lemmy_safety import wiring
from lemmy_safety.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable


def run_job(
    *, door: str, files: str, ledger: str, cache: str, weights: str, screen: str, device: str, watch: bool
) -> dict[str, Any]:
    """In the new process: its own account."""
    from lemmy_safety.daemon import Daemon, DaemonOptions  # noqa: PLC0415 - counted, as in the program
    from lemmy_safety.scan import PassRequest  # noqa: PLC0415

    born = psutil.Process().create_time()
    towers = noted_towers() if watch else []
    settings = Settings(
        all=door == "all",
        storage="local",
        files_directory=files,
        sqlite_filename=Path(ledger),
        cache_dir=Path(cache),
        clip_weights=Path(weights),
        clip_screen=screen,
        device=device,
        dry_run=True,
    )
    stop = threading.Event()
    with PeakMemory() as memory, wiring.open_scanner(settings, stop=stop) as scanner:
        ready, towers_when_ready = time.time(), list(towers)
        memory.look()
        idle = memory.own
        if settings.all:
            summary = scanner.run(PassRequest(kind="sweep"))
        else:
            options = DaemonOptions(minutes=settings.minutes, interval_s=30, full_listing_hours=24)
            summary = Daemon(scanner, options, stop=stop).pass_once()
        verdict = time.time()
    return {
        "ready_s": ready - born,
        "verdict_s": verdict - born,
        "peak": memory.parent,
        "own": memory.own,
        "idle_own": idle,
        "towers_when_ready": towers_when_ready,
        "towers": towers,
        "checked": summary.checked,
    }


def noted_towers() -> list[str]:
    """From now on the towers that are loaded are noted in this list. Imports torch, so for starts that are not timed."""
    from lemmy_safety.detectors.clip.encoders import reference  # noqa: PLC0415

    towers: list[str] = []

    def noting(tower: str, load: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **options: Any) -> Any:
            towers.append(tower)
            return load(*arguments, **options)

        return noted

    reference.load_text_encoder = noting("text", reference.load_text_encoder)
    reference.load_image_encoder = noting("image", reference.load_image_encoder)
    return towers


if __name__ == "__main__":
    print(json.dumps(run_job(**json.loads(sys.argv[1]))))
