"""A sweep deletes under a real pict-rs: what pict-rs answers afterwards, as docs/operations.md, "After a deletion", says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support import pictrs_process
from support.admin import Admin, eventually
from support.corpus import sample_pictures
from support.pictrs_process import COMING, STABLE, Pictrs, alias, told

from lemmy_safety.detectors.canary import canary_png

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.external_service]

MISSING = (500, "not-found")

#: A canary of this size is too small to be recognised, so the sweep leaves it; one of the other size goes.
TINY, SMALL = "16", "256"


@pytest.fixture(params=[STABLE, COMING])
def pictrs(request, tmp_path: Path) -> Iterator[Pictrs]:
    """A pict-rs without the hook: everything gets in."""
    pictrs_process.require_pictrs(request.param)
    with Pictrs(tmp_path / "pictrs", request.param) as server:
        yield server


@pytest.fixture
def admin(pictrs: Pictrs, tmp_path: Path) -> Admin:
    return Admin(tmp_path, {"PICTRS_FILES_DIRECTORY": str(pictrs.files), "LEMMY_SAFETY_DETECTORS": "hashes"})


def stored(pictrs: Pictrs) -> set[str]:
    return {path.relative_to(pictrs.files).as_posix() for path in pictrs.files.rglob("*") if path.is_file()}


def let_an_hour_pass(pictrs: Pictrs) -> None:
    """As if all files had been there for an hour: what was written just now may be incomplete, and waits."""
    for key in stored(pictrs):
        path = pictrs.files / key
        moment = path.stat().st_mtime - 3600
        os.utime(path, (moment, moment))


def original(pictrs: Pictrs, name: str):
    return pictrs.get(f"/image/original/{name}")


def thumbnail(pictrs: Pictrs, name: str, size: str):
    return pictrs.get("/image/process.webp", src=name, thumbnail=size)


def purged(pictrs: Pictrs, name: str) -> None:
    """Wait until pict-rs has forgotten an alias; it purges in the background."""
    gone = f"{name} is purged"
    eventually(lambda: pictrs.internal("GET", "aliases", alias=name).status_code == 404, gone, patience_s=30)


def check_what_remains(pictrs: Pictrs, name: str, canary: bytes) -> list[str]:
    """The claims of the docs; returns the aliases of the uploads after the deletion."""
    assert told(original(pictrs, name)) == MISSING
    assert thumbnail(pictrs, name, SMALL).status_code == 500
    assert thumbnail(pictrs, name, TINY).status_code == 200
    later = [alias(pictrs.upload(canary)) for _ in range(2)]  # 201, as if all were well
    assert [told(original(pictrs, again)) for again in later] == [MISSING, MISSING]
    return later


def test_what_pictrs_answers_after_a_sweep_deleted_a_picture(pictrs, admin):
    """The link and later uploads of the same bytes answer 500, a small size is still shown; a purge ends all of it."""
    photo, canary = next(data for _, data in sample_pictures(1, seed=5)), canary_png()
    kept, name = alias(pictrs.upload(photo)), alias(pictrs.upload(canary))
    for size in (TINY, SMALL):
        assert thumbnail(pictrs, name, size).status_code == 200
    let_an_hour_pass(pictrs)
    before = stored(pictrs)

    said = admin.run("--all").stdout
    assert "pict-rs does not know that 2 objects are gone" in said
    assert "docs/operations.md" in said
    assert len(before - stored(pictrs)) == 2
    later = check_what_remains(pictrs, name, canary)

    assert set(pictrs.internal("POST", "purge", alias=name).json()["aliases"]) == {name, *later}
    purged(pictrs, name)
    for forgotten in (name, *later):
        assert original(pictrs, forgotten).status_code == 404
    assert thumbnail(pictrs, name, TINY).status_code == 404
    assert original(pictrs, alias(pictrs.upload(canary))).content == canary
    assert original(pictrs, kept).status_code == 200


def test_what_pictrs_answers_after_delete_flagged(pictrs, admin):
    """The same after a report and delete-flagged: it says so, and that a dry run deleted nothing is not said."""
    name = alias(pictrs.upload(canary_png()))
    for size in (TINY, SMALL):
        assert thumbnail(pictrs, name, size).status_code == 200
    let_an_hour_pass(pictrs)

    assert "does not know" not in admin.run("--all", "--action", "report").stdout
    assert original(pictrs, name).status_code == 200
    assert "pict-rs does not know that 2 objects are gone" in admin.run("delete-flagged", "--yes").stdout
    check_what_remains(pictrs, name, canary_png())
    assert "does not know" not in admin.run("delete-flagged", "--yes").stdout


def test_prune_missing_forgets_only_what_has_no_file(tmp_path):
    """pict-rs purges the record whose file was deleted, with its other sizes, and leaves the others alone."""
    pictrs_process.require_pictrs(STABLE)
    with Pictrs(tmp_path / "pictrs", STABLE) as pictrs:
        photos = [alias(pictrs.upload(data)) for _, data in sample_pictures(2, seed=6)]
        name = alias(pictrs.upload(canary_png()))
        for picture in (name, *photos):
            assert thumbnail(pictrs, picture, TINY).status_code == 200
        let_an_hour_pass(pictrs)
        admin = Admin(tmp_path, {"PICTRS_FILES_DIRECTORY": str(pictrs.files), "LEMMY_SAFETY_DETECTORS": "hashes"})
        assert admin.json("--all")["acted"] == 1

        assert pictrs.internal("POST", "prune_missing", force="true").status_code == 200
        purged(pictrs, name)
        assert original(pictrs, name).status_code == 404
        assert thumbnail(pictrs, name, TINY).status_code == 404
        for photo in photos:
            assert original(pictrs, photo).status_code == 200
            assert thumbnail(pictrs, photo, TINY).status_code == 200
