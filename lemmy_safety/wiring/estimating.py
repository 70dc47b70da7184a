"""What an estimate needs: a storage, an engine for each set of detectors, and no database."""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

from lemmy_safety.wiring.decoding import build_decoder
from lemmy_safety.wiring.detection import build_detectors, build_policy
from lemmy_safety.wiring.pictrs import open_variant_finder
from lemmy_safety.wiring.scanning import engine_limits, most_bytes_per_s, rate_limit
from lemmy_safety.wiring.storage import build_storage

if TYPE_CHECKING:
    import threading
    from collections.abc import Collection, Iterator, Sequence

    from lemmy_safety.detectors.base import Detector
    from lemmy_safety.scan.estimate import Estimator
    from lemmy_safety.settings import Settings
    from lemmy_safety.wiring.storage import AskPassphrase


@contextmanager
def open_estimator(
    settings: Settings,
    detectors: Collection[str],
    *,
    stop: threading.Event,
    ask_passphrase: AskPassphrase | None = None,
) -> Iterator[Estimator]:
    """An estimator with these detectors; nothing is connected or loaded yet. Weights are not downloaded.

    :raises LemmySafetyError: a setting is wrong.
    """
    from lemmy_safety.scan import ThreadsEngine
    from lemmy_safety.scan.estimate import Estimator
    from lemmy_safety.storage.names import typed_key

    storage = build_storage(settings, ask_passphrase=ask_passphrase)
    with ExitStack() as stack:
        stack.callback(storage.close)
        variants_among = stack.enter_context(open_variant_finder(settings, ask_passphrase=ask_passphrase))
        decoder = stack.enter_context(build_decoder(settings))
        rate = rate_limit(settings)

        def engine_with(some: Sequence[Detector]) -> ThreadsEngine:
            return ThreadsEngine(
                storage=storage,
                detectors=some,
                policy=build_policy(settings),
                decoder=decoder,
                limits=engine_limits(settings),
                skip_plain=settings.skip_plain,
                rate=rate,
            )

        yield stack.enter_context(
            closing(
                Estimator(
                    storage=storage,
                    detectors=build_detectors(settings, detectors, fetch=False, stop=stop),
                    engine_with=engine_with,
                    most_bytes_per_s=most_bytes_per_s(settings),
                    variants_among=variants_among,
                    prefix=typed_key(settings.prefix),
                    stop=stop,
                )
            )
        )
