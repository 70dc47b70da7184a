"""The main job as an admin does it, on real storages: dry run, list, delete what was flagged, sweep again."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from support.storage.sample_store import sample_pictures

from lemmy_safety.detectors.hashes.canary import canary_image

# Every command is a process of its own that loads the libraries again.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(
    params=[
        pytest.param((300, 6), id="300 objects"),
        pytest.param((1000, 20), id="1000 objects", marks=pytest.mark.slow),
    ]
)
def counts(request) -> tuple[int, int]:
    """How many objects there are, and how many of them are canaries."""
    return request.param


def canary_files(count: int) -> list[bytes]:
    """The canary as pict-rs would hold it: other sizes, formats and qualities, no two files alike."""
    files = []
    for number in range(count):
        image = canary_image().convert("RGB")
        image.thumbnail((256 + 24 * number, 1024), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        image.save(out, ("PNG", "JPEG", "WEBP")[number % 3], quality=60)
        files.append(out.getvalue())
    return files


def fill(put, objects, canary_count) -> set[str]:
    """Objects with keys of both layouts, some of them canaries; returns the keys of the canaries."""
    canaries = canary_files(canary_count)
    flagged = set()
    for number, (key, data) in enumerate(sample_pictures(objects, seed=7)):
        if number % (objects // canary_count) == 11:
            put(key, canaries.pop())
            flagged.add(key)
        else:
            put(key, data)
    assert len(flagged) == canary_count
    return flagged


def check_main_job(admin, counts, *, put, present, reads):
    """The same story for every storage. ``present()`` gives the keys there, ``reads()`` those read since last asked."""
    objects, canaries = counts
    flagged = fill(put, objects, canaries)
    before = present()
    assert len(before) == objects

    summary = admin.json("--all", "--dry_run")
    assert (summary["seen"], summary["checked"]) == (objects, objects)
    assert (summary["flagged"], summary["acted"]) == (canaries, 0)
    assert present() == before
    read = reads()
    assert read is None or len(read) >= objects

    listed = admin.json("flagged")
    assert {row["key"] for row in listed} == flagged

    admin.run("delete-flagged", code=60)  # no one to ask, and no --yes
    assert present() == before
    admin.run("delete-flagged", "--yes")
    assert present() == before - flagged
    assert not reads()

    summary = admin.json("--all")
    assert (summary["seen"], summary["skipped"]) == (objects - canaries, objects - canaries)
    assert (summary["checked"], summary["bytes_read"]) == (0, 0)
    assert not reads()
    assert admin.json("flagged") == []


@pytest.mark.external_service
def test_the_main_job_on_a_real_s3_server(admin_on_s3, counts):
    """Swift with s3api: exactly the canaries go, nothing is downloaded twice."""
    admin, bucket = admin_on_s3
    check_main_job(admin, counts, put=bucket.put, present=bucket.present, reads=bucket.reads)


@pytest.mark.external_service
@pytest.mark.parametrize("account", ["ssh", "sftp"])
def test_the_main_job_over_real_ssh(admin_on_ssh, account, counts):
    """OpenSSH, with a shell account and with one that may do SFTP only: the same story, deletes on the server."""
    admin, store = admin_on_ssh(account)
    check_main_job(admin, counts, put=store.put, present=store.present, reads=store.reads)
