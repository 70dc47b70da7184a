"""Sweeps over a real pict-rs with real thumbnails and aliases: what is left of flagged pictures, and of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.removal.instance import instance_on
from support.removal.look import look
from support.removal.uploads import drawn, upload_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.removal.instance import Instance
    from support.removal.uploads import Picture

pytestmark = pytest.mark.external_service

UPLOADS, CANARIES = 12, 3


@pytest.fixture
def instance(tmp_path) -> Iterator[Instance]:
    with instance_on("0.5-sled", "folder", tmp_path) as made:
        yield made


@pytest.fixture
def pictures(instance) -> list[Picture]:
    made = drawn(UPLOADS, CANARIES)
    upload_all(instance, made)
    return made


def test_without_the_url_of_pictrs_a_sweep_leaves_aliases_rows_and_small_sizes(instance, pictures):
    """Files are deleted behind pict-rs's back, as docs/operations.md says; every check of this file notices it."""
    canaries = [picture for picture in pictures if picture.canary]
    others = [picture for picture in pictures if not picture.canary]
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
