"""A sweep deletes under a real pict-rs: what pict-rs answers afterwards, as docs/operations.md, "After a deletion", says."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support.admin import Admin, eventually
from support.scan.passes import keys_in
from support.servers.pictrs_process import COMING, STABLE, Pictrs, alias, bucket_store, require_pictrs, told
from support.storage.sample_store import sample_pictures

from lemmy_safety.detectors.hashes.canary import canary_png

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.external_service

#: A canary of this size is too small to be recognised, so the sweep leaves it; one of the other size goes.
TINY, SMALL = "16", "256"


@dataclass
class Instance:
    """A pict-rs without the hook, so everything gets in, and the admin of its storage."""

    pictrs: Pictrs
    admin: Admin
    stored: Callable[[], set[str]]
    missing: tuple[int, str] = (500, "not-found")


@contextlib.contextmanager
def on_a_folder(folder: Path, version: str) -> Iterator[Instance]:
    with Pictrs(folder / "pictrs", version) as pictrs:
        admin = Admin(folder, {"PICTRS_FILES_DIRECTORY": str(pictrs.files), "LEMMY_SAFETY_DETECTORS": "hashes"})
        yield Instance(pictrs, admin, lambda: keys_in(pictrs.files))


@contextlib.contextmanager
def on_a_bucket(admin: Admin, bucket, version: str) -> Iterator[Instance]:
    store = bucket_store(bucket.server.endpoint, bucket.name, *bucket.server.OWNER)
    with Pictrs(admin.folder / "pictrs", version, store=store) as pictrs:
        missing = (404, "not-found") if version == COMING else Instance.missing
        yield Instance(pictrs, admin, bucket.present, missing)


@pytest.fixture(params=[STABLE, COMING])
def version(request) -> str:
    require_pictrs(request.param)
    return request.param


@pytest.fixture(params=["folder", "bucket"])
def instance(request, version, tmp_path) -> Iterator[Instance]:
    if request.param == "folder":
        with on_a_folder(tmp_path, version) as made:
            yield made
    else:
        with on_a_bucket(*request.getfixturevalue("admin_on_s3"), version) as made:
            yield made


def let_an_hour_pass(files: Path) -> None:
    """As if all files had been there for an hour: what was written just now may be incomplete, and waits."""
    for path in files.rglob("*"):
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


def check_what_remains(instance: Instance, name: str, canary: bytes) -> list[str]:
    """The claims of the docs; returns the aliases of the uploads after the deletion."""
    pictrs = instance.pictrs
    assert told(original(pictrs, name)) == instance.missing
    assert thumbnail(pictrs, name, SMALL).status_code == instance.missing[0]
    assert thumbnail(pictrs, name, TINY).status_code == 200
    later = [alias(pictrs.upload(canary)) for _ in range(2)]  # 201, as if all were well
    assert [told(original(pictrs, again)) for again in later] == [instance.missing] * 2
    return later


def test_what_pictrs_answers_after_a_sweep_deleted_a_picture(instance):
    """The link and later uploads of the same bytes answer 500, a small size is still shown; a purge ends all of it."""
    pictrs, photo, canary = instance.pictrs, next(data for _, data in sample_pictures(1, seed=5)), canary_png()
    kept, name = alias(pictrs.upload(photo)), alias(pictrs.upload(canary))
    for size in (TINY, SMALL):
        assert thumbnail(pictrs, name, size).status_code == 200
    let_an_hour_pass(pictrs.files)
    before = instance.stored()

    said = instance.admin.run("--all").stdout
    assert "pict-rs does not know that 2 objects are gone" in said
    assert "docs/operations.md" in said
    assert len(before - instance.stored()) == 2
    later = check_what_remains(instance, name, canary)

    assert set(pictrs.internal("POST", "purge", alias=name).json()["aliases"]) == {name, *later}
    purged(pictrs, name)
    for forgotten in (name, *later):
        assert original(pictrs, forgotten).status_code == 404
    assert thumbnail(pictrs, name, TINY).status_code == 404
    assert original(pictrs, alias(pictrs.upload(canary))).content == canary
    assert original(pictrs, kept).status_code == 200


def test_what_pictrs_answers_after_delete_flagged(version, tmp_path):
    """The same after a report and delete-flagged; where nothing was deleted, nothing is said."""
    with on_a_folder(tmp_path, version) as instance:
        pictrs, admin = instance.pictrs, instance.admin
        name = alias(pictrs.upload(canary_png()))
        for size in (TINY, SMALL):
            assert thumbnail(pictrs, name, size).status_code == 200
        let_an_hour_pass(pictrs.files)

        assert "does not know" not in admin.run("--all", "--action", "report").stdout
        assert original(pictrs, name).status_code == 200
        assert "pict-rs does not know that 2 objects are gone" in admin.run("delete-flagged", "--yes").stdout
        check_what_remains(instance, name, canary_png())
        assert "does not know" not in admin.run("delete-flagged", "--yes").stdout


def test_prune_missing_forgets_only_what_has_no_file(tmp_path):
    """pict-rs purges the record whose file was deleted, with its other sizes, and leaves the others alone."""
    require_pictrs(STABLE)
    with on_a_folder(tmp_path, STABLE) as instance:
        pictrs = instance.pictrs
        photos = [alias(pictrs.upload(data)) for _, data in sample_pictures(2, seed=6)]
        name = alias(pictrs.upload(canary_png()))
        for picture in (name, *photos):
            assert thumbnail(pictrs, picture, TINY).status_code == 200
        let_an_hour_pass(pictrs.files)
        assert instance.admin.json("--all")["acted"] == 1

        assert pictrs.internal("POST", "prune_missing", force="true").status_code == 200
        purged(pictrs, name)
        assert original(pictrs, name).status_code == 404
        assert thumbnail(pictrs, name, TINY).status_code == 404
        for photo in photos:
            assert original(pictrs, photo).status_code == 200
            assert thumbnail(pictrs, photo, TINY).status_code == 200
