"""Files of a real pict-rs were deleted behind its back, by earlier sweeps and by hand: what ``repair`` does about it.

The pict-rs runs in its dummy mode, which keeps uploads as they are and calls no other programs.
"""

from __future__ import annotations

import io
import shutil
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from support.admin import Admin
from support.scan.passes import keys_in
from support.servers.pictrs_process import API_KEY, Pictrs, alias
from support.servers.pictrs_repos import DUMMY, pictrs_with

from lemmy_safety.detectors.hashes.canary import canary_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.external_service


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.convert("RGB").save(out, "PNG")
    return out.getvalue()


def canary(number: int = 0) -> bytes:
    image = canary_image()
    width = 640 + number
    return png(image.resize((width, width * image.height // image.width)))


def harmless(number: int) -> bytes:
    return png(Image.effect_noise((32 + number, 24), 60))


class Instance:
    """A pict-rs, and the admin of its storage, who has not told lemmy-safety about pict-rs yet."""

    def __init__(self, server: Pictrs, database: str | None, folder: Path) -> None:
        self.server = server
        self.files = server.files
        self.folder = folder
        self.database = database
        self.sweeper = Admin(folder, {"PICTRS_FILES_DIRECTORY": str(server.files), "LEMMY_SAFETY_DETECTORS": "hashes"})

    @property
    def admin(self) -> Admin:
        """The same admin, when the address of pict-rs is set."""
        told = {"PICTRS_URL": f"http://127.0.0.1:{self.server.port}", "PICTRS_API_KEY": API_KEY}
        if self.database is not None:
            told["PICTRS_DATABASE_URL"] = self.database
        return Admin(self.folder, {**self.sweeper.env, **told})

    def upload(self, *pictures: bytes) -> list[str]:
        return [alias(self.server.upload(data)) for data in pictures]

    def stored(self, data: bytes) -> tuple[str, Path]:
        """The alias and the file of a picture that is uploaded now."""
        before = keys_in(self.files)
        (name,) = self.upload(data)
        (key,) = keys_in(self.files) - before
        return name, self.files / key

    def statuses(self, names: list[str]) -> list[int]:
        return [self.server.get(f"/image/original/{name}").status_code for name in names]


@pytest.fixture(params=["0.5-sled", pytest.param("0.5-postgres", marks=pytest.mark.slow)])
def instance(request, tmp_path) -> Iterator[Instance]:
    with pictrs_with(request.param, tmp_path / "pictrs", DUMMY) as (server, database):
        yield Instance(server, database, tmp_path)


def test_links_of_swept_files_answer_404_again_and_the_bytes_can_be_uploaded_again(instance) -> None:
    kept = instance.upload(*map(harmless, range(3)))
    ours = instance.upload(canary(0), canary(0), canary(1))
    instance.sweeper.run("--all", "--yes")
    broken = instance.upload(canary(1))  # accepted, as if all were well
    assert instance.statuses([*ours, *broken]) == [500] * 4

    admin = instance.admin
    shown = admin.json("repair", "--dry-run")
    would_go = {one["alias"] for picture in shown["would_purge"] for one in picture["aliases"]}
    assert would_go == {*ours, *broken}
    refused = admin.run("repair", code=60)
    assert (
        "2 pictures with 4 aliases would be purged from pict-rs, and there is no terminal to ask on" in refused.stderr
    )
    assert instance.statuses([*ours, *broken]) == [500] * 4

    done = admin.run("repair", "--yes")
    assert "2 pictures purged from pict-rs." in done.stdout
    assert instance.statuses([*ours, *broken]) == [404] * 4
    assert instance.statuses(kept) == [200] * 3
    assert instance.statuses(instance.upload(canary(0), canary(1))) == [200, 200]
    assert "Nothing is left to repair." in admin.run("repair", "--yes").stdout
    assert instance.statuses(kept) == [200] * 3
    assert API_KEY not in done.stdout + done.stderr


def test_what_was_deleted_by_hand_is_purged_only_on_request_and_only_in_a_storage_that_is_whole(instance) -> None:
    kept = instance.upload(*map(harmless, range(110)))
    ours, by_hand = instance.stored(canary()), instance.stored(harmless(200))
    instance.sweeper.run("--all", "--yes")
    by_hand[1].unlink()
    admin, names = instance.admin, [ours[0], by_hand[0]]

    admin.run("repair", "--yes")
    assert instance.statuses(names) == [404, 500]
    done = admin.json("repair", "--all-missing", "--yes")
    assert (done["done"], done["left"], done["deleted_by_others"]) == (1, 0, 1)
    assert instance.statuses(names) == [404, 404]
    assert instance.statuses(kept) == [200] * 110

    lost = [instance.stored(harmless(number)) for number in (201, 202)]
    for _, file in lost:
        file.unlink()
    refused = admin.run("repair", "--all-missing", "--yes", code=60)
    assert "2 of the 112 originals that pict-rs names are missing" in refused.stderr
    assert instance.statuses([name for name, _ in lost]) == [500, 500]


def test_nothing_is_purged_where_another_storage_is_mounted(instance) -> None:
    names = instance.upload(*map(harmless, range(21)), canary())
    instance.sweeper.run("--all", "--yes")
    instance.files.rename(instance.folder / "mounted before")
    instance.files.mkdir()
    (instance.files / "another.png").write_bytes(harmless(1))
    for flags in ((), ("--all-missing",)):
        refused = instance.admin.run("repair", "--yes", *flags, code=87)
        assert "none of 21 is in this storage" in refused.stderr
    shutil.rmtree(instance.files)
    (instance.folder / "mounted before").rename(instance.files)
    assert instance.statuses(names) == [200] * 21 + [500]
