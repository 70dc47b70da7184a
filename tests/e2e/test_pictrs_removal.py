"""Sweeps over a real pict-rs with real thumbnails and aliases: what is left of flagged pictures, and of the others."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest
from support.removal.instance import COMBINATIONS, instance_on
from support.removal.killing import kill_sweeps, recorded
from support.removal.look import look, look_when_done
from support.removal.steps import answers_with_hook, stop_pictrs_at_purge
from support.removal.uploads import again, drawn, upload_all
from support.servers.pictrs_process import API_KEY
from support.servers.pictrs_repos import DUMMY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from support.removal.instance import Instance
    from support.removal.uploads import Picture

pytestmark = pytest.mark.external_service

UPLOADS, CANARIES = 9, 3


#: The gate's; the others are slow.
_FIRST = COMBINATIONS[0]

#: The suite's short form; REMOVAL_KILLS=50 is a longer one.
KILLS = int(os.environ.get("REMOVAL_KILLS", "5"))


@pytest.fixture(params=[_FIRST], ids="-".join)
def instance(request, tmp_path) -> Iterator[Instance]:
    """On sled and a folder, if a test does not name others."""
    kind, store = request.param
    s3 = request.getfixturevalue("swift") if store == "bucket" else None
    with instance_on(kind, store, tmp_path, s3=s3) as made:
        yield made


on_every_combination = pytest.mark.parametrize(
    "instance",
    [_FIRST, *(pytest.param(each, marks=pytest.mark.slow) for each in COMBINATIONS[1:])],
    indirect=True,
    ids="-".join,
)


@pytest.fixture
def pictures(instance) -> list[Picture]:
    made = drawn(UPLOADS, CANARIES)
    upload_all(instance, made)
    return made


def parted(pictures: Sequence[Picture]) -> tuple[list[Picture], list[Picture]]:
    """Canaries and others."""
    return [each for each in pictures if each.canary], [each for each in pictures if not each.canary]


@on_every_combination
def test_a_sweep_removes_exactly_the_flagged_pictures_at_every_size(instance, pictures):
    """With every alias and row. The same bytes are accepted again, and removed again by the next sweep."""
    canaries, others = parted(pictures)
    done = instance.admin.json("--all", "--yes")
    assert done["flagged"] >= CANARIES
    assert look_when_done(instance, canaries, others).faults == []
    assert instance.watch.counts()["POST /internal/purge"] == CANARIES

    later = again(canaries)
    upload_all(instance, later, sides=())
    instance.admin.run("--all", "--yes")
    assert look_when_done(instance, [*canaries, *later], others).faults == []
    assert set(recorded(instance)) == {"done"}
    assert [name for name, text in instance.everything_said().items() if API_KEY in text] == []


@on_every_combination
@pytest.mark.parametrize("gently", [pytest.param(True, marks=pytest.mark.slow), False], ids=["SIGTERM", "kill -9"])
@pytest.mark.parametrize("answered", [pytest.param(False, marks=pytest.mark.slow), True], ids=["before", "after"])
def test_when_pictrs_ends_in_the_middle_the_next_pass_finishes(instance, pictures, gently, answered):
    """pict-rs has not got the second purge, or has got it and its answer is lost."""
    canaries, others = parted(pictures)
    stop_pictrs_at_purge(instance, 2, gently=gently, answered=answered)
    instance.admin.run("--all", "--yes", code=60)
    instance.pictrs.start()
    assert {picture.sha256 for picture in canaries} & set(instance.listed())
    instance.admin.run("--all", "--yes")
    assert look_when_done(instance, canaries, others).faults == []


@pytest.mark.slow
@on_every_combination
def test_what_was_removed_is_refused_by_the_hook(instance, pictures):
    """Uploaded again, or fetched again from another server at the next view."""
    canaries, others = parted(pictures)
    instance.admin.run("--all", "--yes")
    assert answers_with_hook(instance, canaries) == [(400, "failed-external-validation")] * CANARIES
    assert look_when_done(instance, canaries, others).faults == []


def test_kill_9_of_sweeps_leaves_nothing_half_done(tmp_path):
    """And each action is recorded once. pict-rs runs in its dummy mode, where an upload takes milliseconds."""
    with instance_on(*_FIRST, tmp_path, settings=DUMMY) as instance:
        done = kill_sweeps(instance, KILLS, random.Random(5), flagged=30, others=5)
        assert done.faults == []
        assert done.kills == KILLS
        assert done.actions == done.pictures
        assert [name for name, text in instance.everything_said().items() if API_KEY in text] == []


def test_without_the_url_of_pictrs_a_sweep_leaves_aliases_rows_and_small_sizes(instance, pictures):
    """Files are deleted behind pict-rs's back, as docs/operations.md says; every check of this file notices it."""
    canaries, others = parted(pictures)
    assert not look(instance, [], pictures).faults
    del instance.admin.env["PICTRS_URL"]
    done = instance.admin.json("--all")
    assert (done["flagged"], done["acted"]) == (2 * CANARIES, 2 * CANARIES)
    seen = look(instance, canaries, others)
    names = {name for picture in canaries for name in picture.aliases}
    assert seen.answers == {500: 2 * len(names), 200: len(names)}
    assert seen.files == {picture.keys["16"] for picture in canaries}
    assert seen.aliases == names
    assert seen.listed == {picture.sha256 for picture in canaries}
    assert not seen.harmed
    assert instance.watch.requests == []
