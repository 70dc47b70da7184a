"""Decode stage: bytes in, frames and fingerprints out."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from lemmy_safety.errors import MediaError, WorkerDied
from lemmy_safety.records import ItemStatus, Refusal, Sample
from lemmy_safety.scan.items import Decoded

if TYPE_CHECKING:
    from lemmy_safety.media import DecodedMedia, Decoder
    from lemmy_safety.scan.budget import ByteBudget
    from lemmy_safety.scan.items import Fetched
    from lemmy_safety.scan.pipeline import Channel

log = logging.getLogger(__name__)


def decode(decoder: Decoder, data: bytes, *, sha256: str, key: str) -> Sample:
    """Decode some bytes; a sample without frames if they cannot be decoded.

    ``key`` is their name. May be called from several threads.

    :raises WorkerDied: nothing can be decoded at all; nothing else is raised, whatever the bytes are.
    """
    try:
        media = decoder.decode(data)
    except MediaError as error:
        if error.decoder_broke:
            log.warning("the decoder broke key=%r reason=%s", key, error.reason)
        refusal = Refusal(status=error.status, reason=error.reason, decoder_broke=error.decoder_broke)
        return Sample(sha256=sha256, refusal=refusal)
    except WorkerDied:
        raise
    except Exception as error:
        # Strangers choose the bytes: a bug of ours that they trigger costs their object, never the run.
        log.exception("decoder fault key=%r", key)
        reason = f"fault in the decoder: {type(error).__name__}"
        refusal = Refusal(status=ItemStatus.UNREADABLE, reason=reason, decoder_broke=True)
        return Sample(sha256=sha256, refusal=refusal)
    return sample_of(decoder, media, sha256=sha256, key=key)


def sample_of(decoder: Decoder, media: DecodedMedia, *, sha256: str, key: str) -> Sample:
    """Decoded media as the judge takes them; their name may be an anomaly."""
    info, misnomer = media.info, decoder.anomaly_of_name(key, media.info.media_type)
    if misnomer is not None:
        info = replace(info, anomalies=(*info.anomalies, misnomer))
    return Sample(sha256=sha256, info=info, frames=media.frames, pdqs=media.pdqs)


class DecodeStage:
    """Decodes. Undecodable objects go on with the reason, for detectors that recognise files by their bytes."""

    def __init__(self, *, decoder: Decoder, budget: ByteBudget, frames: ByteBudget, to_judge: Channel[Decoded]) -> None:
        self._decoder = decoder
        self._budget = budget
        self._frames = frames
        self._to_judge = to_judge

    def run(self, inbox: Channel[Fetched]) -> None:
        """One worker's loop."""
        while (fetched := inbox.get()) is not None:
            obj = fetched.obj
            try:
                sample = decode(self._decoder, fetched.data, sha256=fetched.sha256, key=obj.key)
            finally:
                self._budget.release(obj.size)
            if sample.frames:
                self._frames.acquire(sample.nbytes)
            self._to_judge.put(Decoded(obj=obj, sample=sample))
