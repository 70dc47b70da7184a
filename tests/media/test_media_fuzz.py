"""Some hundred mutated files of every format through decoder, detector and policy; ``evaluation/fuzz_media.py`` runs tens
of thousands in worker processes."""

from __future__ import annotations

from collections import Counter

import pytest
from support.media.judging import MediaJudge, is_flagged
from support.media.mutations import Mutator, seed_files

from lemmy_safety.media import InlineDecoder, MediaLimits
from lemmy_safety.records import ItemStatus

LIMITS = MediaLimits(max_bytes=5_000_000, max_pixels=5_000_000, max_frames=8)
FILES = 300
#: What the decoder may say of bytes; anything else would be a fault that decode() had to catch.
SAID = {ItemStatus.CHECKED, ItemStatus.UNREADABLE, ItemStatus.UNSUPPORTED, ItemStatus.TOO_LARGE}


@pytest.fixture(scope="module")
def files():
    return seed_files()


@pytest.mark.long
def test_healthy_seeds_are_all_decoded(files):
    """The files that mutations start from are fine: what fails below fails by the mutation."""
    judge = MediaJudge(InlineDecoder(LIMITS))
    results = {file.form: judge(file.form, file.data) for file in files}
    assert {form: one.reason for form, one in results.items() if one.status is not ItemStatus.CHECKED} == {}


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_mutated_file_breaks_the_decoder_or_is_flagged(files, seed):
    """Damaged files end with a status and a reason; none is flagged because it could not be read."""
    judge = MediaJudge(InlineDecoder(LIMITS))
    mutator = Mutator(files, seed=seed)
    results = [(number, *mutator.file(number)) for number in range(FILES // 3)]
    judged = [(number, form, judge(form, data)) for number, form, data in results]
    assert not [(number, form) for number, form, result in judged if is_flagged(result)]
    assert not [(number, form, result.reason) for number, form, result in judged if result.decoder_broke]
    assert {result.status for _, _, result in judged} <= SAID
    assert all(result.reason for _, _, result in judged if result.status is not ItemStatus.CHECKED)


@pytest.mark.long
def test_mutations_are_repeatable_and_reach_the_decoders(files):
    """The same number gives the same file, and a good part of the files still decodes: not all die at the first byte."""
    mutator = Mutator(files, seed=4)
    assert [mutator.file(number) for number in range(20)] == [mutator.file(number) for number in range(20)]
    judge = MediaJudge(InlineDecoder(LIMITS))
    statuses = Counter(judge(*mutator.file(number)).status for number in range(60))
    assert statuses[ItemStatus.CHECKED] >= 15
    assert statuses.total() - statuses[ItemStatus.CHECKED] >= 5
