"""What is said of one picture, by the reference or by the screen, and the findings that a file's pictures make."""

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
    """What the heads say of one picture.

    ``from_screen``: by similarities that are off by up to the error bound. ``unsure`` are the mild labels of which it is
    then open whether the reference says the same; of all others it does.
    """

    hits: Hits
    from_screen: bool = False
    unsure: frozenset[str] = frozenset()


def findings_of(
    head: Head, judged: Sequence[tuple[Frame, FrameAnswer]], *, detector: str, version: str
) -> Iterator[Finding]:
    """One head's findings for a file with these frames.

    The gravest frame decides; a label that holds only for other frames is reported for the first of them. A mild label
    that no frame has, and of which one is unsure, is a finding with the score 0, to tell.
    """
    # Of equally grave frames one that the reference has judged comes first: what it says needs no reservation.
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
    """What a finding's details say of where it comes from; nothing when it comes from the reference itself."""
    return {"from": "screen", "sure": label not in said.unsure} if said.from_screen else {}
