"""The generated corpus, small: every format with the canary in every hiding place, through the real way of a pass.

The same corpus at full size, as a table: ``evaluation/media_table.py``.
"""

from __future__ import annotations

from collections import Counter

import pytest
from support.media.corpus import SCENE_MS, SMALL, Expected, corpus
from support.media.files import ANIMATIONS, STILLS, VIDEOS
from support.media.judging import MediaJudge, is_flagged

from lemmy_safety.media import InlineDecoder, MediaLimits
from lemmy_safety.records import ItemStatus

SEED = 1

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def judged():
    """Every file of the corpus with its result, made and judged once."""
    judge = MediaJudge(InlineDecoder(MediaLimits(max_bytes=50_000_000, max_pixels=50_000_000)))
    return [(file, judge(file.name, file.data)) for file in corpus(SMALL, SEED)]


def test_the_canary_is_found_in_every_format_and_every_hiding_place(judged):
    """Whatever some viewer shows of a file, we see."""
    found = [file.name for file, result in judged if file.expected is Expected.FOUND and is_flagged(result)]
    missed = {
        file.name: result.reason or result.status
        for file, result in judged
        if file.expected is Expected.FOUND and not is_flagged(result)
    }
    assert not missed
    assert len(found) > 150


def test_nothing_is_flagged_in_their_clean_twins(judged):
    """The same files with a photo in place of the canary are clear or undecodable, never flagged."""
    assert not [file.name for file, result in judged if file.expected is Expected.CLEAR and is_flagged(result)]


def test_every_whole_file_is_decoded(judged):
    """Only files that were cut can be unreadable, and all others are CHECKED."""
    refused = [file.name for file, result in judged if result.status is not ItemStatus.CHECKED]
    assert not [name for name in refused if "cut at" not in name]


def test_the_corpus_has_all_forms(judged):
    """No encoder of the suite is left out, each form is there with and without the canary."""
    forms = Counter(file.form for file, _ in judged)
    assert forms.keys() >= {*STILLS, *ANIMATIONS, *VIDEOS}
    assert min(forms.values()) >= 2


def test_a_finding_in_a_moving_picture_says_the_second(judged):
    """The second named lies within the scene's half second, give or take a frame."""
    duration_ms = 1000 // SMALL.frames_per_s
    count = round(SMALL.seconds * SMALL.frames_per_s)
    start = (count - SCENE_MS // duration_ms) // 2 * duration_ms / 1000
    moving = [(file, result) for file, result in judged if file.place.startswith(f"a scene of {SCENE_MS} ms")]
    assert len(moving) == len(ANIMATIONS) + len(VIDEOS)
    for file, result in moving:
        canary = next(finding for finding in result.verdict.findings if finding.label == "canary")
        assert canary.at_s == pytest.approx(start + SCENE_MS / 2000, abs=SCENE_MS / 2000 + duration_ms / 1000), (
            file.name
        )
        assert result.info.duration_s == pytest.approx(SMALL.seconds, rel=0.05), file.name
