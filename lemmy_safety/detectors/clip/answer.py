"""The result for one picture, from the reference or the screen, and the findings for all pictures of a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lemmy_safety.records import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lemmy_safety.detectors.clip.heads.base import Head, Hits
    from lemmy_safety.records import Frame

#: Heads answer yes or no; as scores these are 1 and 0, and a hit is a yes.
_YES = 1.0
_NO = 0.0


@dataclass(frozen=True, slots=True)
class FrameAnswer:
    """The heads' result for one picture.

    ``from_screen``: from similarities that are off by up to the error bound. ``unsure`` are the mild labels for which
    the
    reference might then differ; for all others it agrees.
    """

    hits: Hits
    from_screen: bool = False
    unsure: frozenset[str] = frozenset()


def findings_of(
    head: Head, judged: Sequence[tuple[Frame, FrameAnswer]], *, detector: str, version: str
) -> Iterator[Finding]:
    """One head's findings for a file with these frames.

    The gravest frame decides; a label that only other frames have is reported for the first of them. A mild label
    that no frame has, but that is unsure for one, becomes a finding with the score 0.
    """
    # Of equally grave frames, one that the reference judged comes first: its result needs no reservation.
    gravest_first = sorted(
        judged,
        key=lambda pair: (
            *(label not in pair[1].hits for label in head.labels),
            pair[1].from_screen,
            bool(pair[1].unsure & head.mild),
        ),
    )
    for label in head.labels:
        score, met = _YES, next(((frame, said) for frame, said in gravest_first if label in said.hits), None)
        if met is None:
            score, met = _NO, next(((frame, said) for frame, said in judged if label in said.unsure), None)
        if met is not None:
            frame, said = met
            yield Finding(
                detector=detector,
                version=version,
                label=label,
                score=score,
                threshold=_YES,
                frame=frame.index,
                at_s=frame.at_s,
                view=frame.view,
                details={**said.hits.get(label, {}), **_reservation(label, said)},
            )


def _reservation(label: str, said: FrameAnswer) -> dict[str, Any]:
    """The origin of a finding, for its details; empty if it comes from the reference itself."""
    return {"from": "screen", "sure": label not in said.unsure} if said.from_screen else {}
