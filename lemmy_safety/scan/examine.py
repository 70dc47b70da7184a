"""Third stage: bytes in, frames and fingerprints out."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from lemmy_safety.errors import MediaError, WorkerDied
from lemmy_safety.records import Assessment, ItemResult, ItemStatus, Sample
from lemmy_safety.scan.items import Examined

if TYPE_CHECKING:
    from lemmy_safety.media import DecodedMedia, Decoder
    from lemmy_safety.records import StoredObject
    from lemmy_safety.scan.budget import ByteBudget
    from lemmy_safety.scan.items import Fetched
    from lemmy_safety.scan.pipeline import Channel

log = logging.getLogger(__name__)


def examine(decoder: Decoder, fetched: Fetched) -> Examined | ItemResult:
    """Decode one object; the result without verdict where there is nothing to look at.

    May be called from several threads.

    :raises WorkerDied: nothing can be decoded at all; nothing else is raised, whatever the bytes are.
    """
    try:
        media = decoder.decode(fetched.data)
    except MediaError as error:
        if error.decoder_broke:
            log.warning("the decoder broke key=%r reason=%s", fetched.obj.key, error.reason)
        return ItemResult(
            obj=fetched.obj,
            assessment=Assessment(
                status=error.status,
                reason=error.reason,
                sha256=fetched.sha256,
                decoder_broke=error.decoder_broke,
            ),
        )
    except WorkerDied:
        raise
    except Exception as error:
        # The bytes are chosen by strangers: a fault of ours that they find costs their object, never the run.
        log.exception("decoder fault key=%r", fetched.obj.key)
        return ItemResult(
            obj=fetched.obj,
            assessment=Assessment(
                status=ItemStatus.UNREADABLE,
                reason=f"fault in the decoder: {type(error).__name__}",
                sha256=fetched.sha256,
                decoder_broke=True,
            ),
        )
    return as_examined(decoder, fetched.obj, fetched.sha256, media)


def as_examined(decoder: Decoder, obj: StoredObject, sha256: str, media: DecodedMedia) -> Examined:
    """A decoded object as the judge takes it."""
    info, misnomer = media.info, decoder.anomaly_of_name(obj.key, media.info.media_type)
    if misnomer is not None:
        info = replace(info, anomalies=(*info.anomalies, misnomer))
    sample = Sample(sha256=sha256, info=info, frames=media.frames, pdqs=media.pdqs)
    return Examined(obj=obj, sample=sample)


class Examiner:
    """Decodes; what cannot be decoded goes on with its reason, for detectors that know files by their bytes."""

    def __init__(
        self,
        *,
        decoder: Decoder,
        budget: ByteBudget,
        frames: ByteBudget,
        to_judge: Channel[Examined | ItemResult],
    ) -> None:
        self._decoder = decoder
        self._budget = budget
        self._frames = frames
        self._to_judge = to_judge

    def run(self, inbox: Channel[Fetched]) -> None:
        """One worker's loop."""
        while (fetched := inbox.get()) is not None:
            try:
                examined = examine(self._decoder, fetched)
            finally:
                self._budget.give_back(fetched.obj.size)
            if isinstance(examined, Examined):
                self._frames.take(examined.nbytes)
            self._to_judge.put(examined)
