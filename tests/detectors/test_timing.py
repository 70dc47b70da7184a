"""How a model's speed is tried: what it is shown, and which call counts."""

from __future__ import annotations

import pytest

from lemmy_safety.detectors import timing
from lemmy_safety.detectors.timing import frames_per_second


class Model:
    """Notes how many frames it is shown in each call, and has the clock go on by a second a frame."""

    def __init__(self, monkeypatch, *, seconds_a_frame: float) -> None:
        self.calls: list[int] = []
        self._seconds_a_frame = seconds_a_frame
        self._now = 0.0
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self._now)

    def look(self, frames) -> None:
        assert {(frame.shape, frame.dtype.name) for frame in frames} == {((256, 256, 3), "uint8")}
        self.calls.append(len(frames))
        self._now += self._seconds_a_frame * len(frames)


@pytest.mark.parametrize(
    ("at_once", "seconds_a_frame", "calls"),
    [
        (8, 0.01, [1, 1, 2, 4, 8]),
        (6, 0.01, [1, 1, 2, 4, 6]),
        (1, 0.01, [1, 1]),
        (32, 0.7, [1, 1, 2, 4]),
        (32, 3, [1, 1]),
    ],
)
def test_calls_grow_until_one_is_long_enough_or_is_a_full_batch(monkeypatch, at_once, seconds_a_frame, calls):
    """A slow model is asked for seconds, a fast one for its full batch; the rate is that of the last call."""
    model = Model(monkeypatch, seconds_a_frame=seconds_a_frame)
    rate = frames_per_second(model.look, at_once=at_once)
    assert model.calls == calls
    assert rate == pytest.approx(1 / seconds_a_frame)
