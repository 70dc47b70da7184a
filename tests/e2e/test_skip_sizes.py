"""One judgement per picture, with a real pict-rs on PostgreSQL: what it makes itself, and what it cannot be asked about."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool
from support.admin import Admin
from support.scan.passes import keys_in, put
from support.scan.scanned_store import picture
from support.servers.pictrs_process import _program, alias
from support.servers.pictrs_repos import pictrs_with
from support.servers.pictrs_rows import GIF, MP4, insert_pictures, stored_hash

from lemmy_safety.detectors.hashes.canary import canary_image
from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.pictrs.pictures.variants import VariantFinder
from lemmy_safety.pictrs.repo.database import Repo
from lemmy_safety.pictrs.variants import Variant
from lemmy_safety.records import ItemStatus, Outcome

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.external_service, pytest.mark.timeout(600)]

KILLS = int(os.environ.get("SWEEP_KILLS", "4"))


@pytest.fixture(scope="module", params=["0.5-postgres", "0.6-postgres"])
def server_and_url(request, tmp_path_factory):
    with pictrs_with(request.param, tmp_path_factory.mktemp("pictrs")) as running:
        yield running


@pytest.fixture
def url(server_and_url):
    """The URL of pict-rs's database, without any picture."""
    url = server_and_url[1]
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE hashes, aliases, variants, proxies CASCADE"))
    return url


@pytest.fixture
def repo(url):
    with Repo(make_url(url)) as opened:
        yield opened


def as_png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def gradient(number: int, size: tuple[int, int]) -> bytes:
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    image.putpixel((0, 0), (number, 1, 7))
    return as_png(image)


def hiding_the_canary(side: int, step: int) -> bytes:
    """A harmless picture that has the canary in the pixels that a thumbnail of ``side`` keeps, one in ``step`` squared."""
    hidden = canary_image().convert("RGB").resize((side, side * 3 // 4), Image.Resampling.LANCZOS)
    width, height = hidden.size
    rough = np.random.default_rng(1).integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(rough).resize((width * step, height * step), Image.Resampling.BICUBIC)).copy()
    kept = step // 2 - 1
    pixels[kept::step, kept::step] = np.asarray(hidden)
    return as_png(Image.fromarray(pixels))


class Store:
    """What a real pict-rs stored: by the name of its upload, the keys of the original and of each variant."""

    def __init__(self, server) -> None:
        self.server = server
        self.keys: dict[str, str] = {}

    def upload(self, name: str, data: bytes) -> str:
        before = keys_in(self.server.files)
        alias_ = alias(self.server.upload(data))
        (self.keys[name],) = keys_in(self.server.files) - before
        return alias_

    def make(self, name: str, of: str, extension: str = "webp", **operation: str) -> None:
        before = keys_in(self.server.files)
        answer = self.server.get(f"/image/process.{extension}", src=of, **operation)
        assert answer.status_code == 200, answer.text
        (self.keys[name],) = keys_in(self.server.files) - before


def admin_of(folder, files, url, **more) -> Admin:
    return Admin(
        folder,
        {
            "PICTRS_FILES_DIRECTORY": str(files),
            "PICTRS_DATABASE_URL": url,
            "LEMMY_SAFETY_DETECTORS": "hashes",
            "LEMMY_SAFETY_MAX_ACTION_SHARE": "100",
            **more,
        },
    )


def statuses(folder, store) -> dict[str, ItemStatus]:
    with open_ledger(sqlite_url(folder / "lemmy_safety.db")) as ledger:
        found = ledger.objects.on_record(list(store.keys.values()))
    return {name: found[key].assessment.status for name, key in store.keys.items() if key in found}


def test_what_pictrs_made_itself_follows_unless_a_thumbnail_can_hide_another_picture(
    server_and_url, url, tmp_path
) -> None:
    """The canary is in no pixel that a detector sees of its original, and is all that the thumbnail shows."""
    server, _ = server_and_url
    store = Store(server)
    large = store.upload("large", gradient(1, (600, 400)))
    small = store.upload("small", gradient(2, (100, 80)))
    hiding = store.upload("hiding", hiding_the_canary(256, 8))
    store.make("large as webp", large)
    store.make("large resized", large, resize="200")
    store.make("large thumbnail", large, thumbnail="200")
    store.make("large cropped", large, crop="1x1")
    store.make("small thumbnail", small, thumbnail="128")
    store.make("small as jpeg", small, "jpeg")
    store.make("hiding resized", hiding, resize="256")
    store.make("hiding thumbnail", hiding, thumbnail="256")
    admin = admin_of(tmp_path, server.files, url)
    counted = admin.json("estimate", "--objects", "10", "--json")
    assert (counted["objects"], counted["variants"], counted["sample"]) == (11, 3, 8)
    summary = admin.json("--all", "--json")
    follow = {name for name, status in statuses(tmp_path, store).items() if status is ItemStatus.VARIANT}
    assert follow == {"large as webp", "large resized", "small thumbnail", "hiding resized"}
    assert (summary["seen"], summary["variants"], summary["checked"], summary["acted"]) == (11, 4, 7, 1)
    assert set(store.keys.values()) - keys_in(server.files) == {store.keys["hiding thumbnail"]}

    shown = admin.run("picture", store.keys["large as webp"]).stdout
    assert shown.count("follows the original") == 2
    assert "not the original, but webp" in shown
    again = admin.json("estimate", "--objects", "10", "--json")
    assert (again["objects"], again["variants"], again["known"]) == (10, 3, 6)

    everything = admin_of(tmp_path / "other", server.files, url, LEMMY_SAFETY_SKIP_SIZES="all")
    everything.folder.mkdir()
    assert everything.json("--all", "--json")["variants"] == 7
    off = admin_of(tmp_path, server.files, url, LEMMY_SAFETY_SKIP_SIZES="off")
    summary = off.json("--all", "--json")
    assert (summary["variants"], summary["checked"], summary["skipped"]) == (0, 4, 6)


def test_after_migrate_store_nothing_is_judged_again(server_and_url, url, tmp_path) -> None:
    """All keys are new: originals are read and known by their bytes, and their variants follow them."""
    server, _ = server_and_url
    store = Store(server)
    for number in range(3):
        name = store.upload(f"original {number}", gradient(10 + number, (300, 200)))
        store.make(f"webp {number}", name)
        store.make(f"thumbnail {number}", name, thumbnail="64")
    old = tmp_path / "old"
    for key in store.keys.values():  # other tests' pictures are in the same folder
        put(old, key, (server.files / key).read_bytes())
    first = admin_of(tmp_path, old, url).json("--all", "--json")
    assert (first["checked"], first["variants"]) == (6, 3)

    new = tmp_path / "new"
    server.stop(gently=True)
    try:
        subprocess.run(
            [_program(server.version), "migrate-store", "filesystem", "-p", str(old), "filesystem", "-p", str(new)],
            env=server.environment,
            cwd=server.folder,
            check=True,
            capture_output=True,
            timeout=120,
        )
    finally:
        server.start()
    assert len(keys_in(new)) == 9
    assert keys_in(new).isdisjoint(store.keys.values())
    second = admin_of(tmp_path, new, url).json("--all", "--json")
    assert (second["seen"], second["checked"], second["reused"], second["variants"]) == (9, 6, 6, 3)


def test_only_unambiguous_rows_of_still_pictures_make_a_variant(url, repo) -> None:
    """Whatever else the tables say, the object is judged."""
    one, two, gif, video = stored_hash(b"1"), stored_hash(b"2"), stored_hash(b"3", GIF), stored_hash(b"4", MP4)
    insert_pictures(
        url,
        {"one": one, "two": two, "gif": gif, "video": video},
        [
            (one, "webp", "format"),
            (one, "thumbnail/96/webp", "thumbnail"),
            (one, "crop/1x1/webp", "crop"),
            (one, "resize/10/webp", "of both"),
            (two, "resize/10/webp", "of both"),
            (one, "resize/11/webp", "two"),
            (one, "resize/12/webp", "one"),
            (one, "resize/13/webp", "still"),
            (gif, "webp", "of a gif"),
            (video, "webp", "of a video"),
        ],
        motions={"still": video},
    )
    keys = ["one", "format", "thumbnail", "crop", "of both", "two", "still", "of a gif", "of a video", "unheard of"]
    exact = {"format": Variant(original="one"), "thumbnail": Variant(original="one", fits_in=96)}
    assert VariantFinder(repo, only_exact=True)(keys) == exact
    every = dict.fromkeys(("format", "thumbnail", "crop"), Variant(original="one"))
    assert VariantFinder(repo, only_exact=False)(keys) == every


def test_a_database_that_fails_is_said_once_and_asked_again_later(url, repo, caplog) -> None:
    """Its table is gone in the middle of a pass; later it is there again."""
    one = stored_hash(b"1")
    insert_pictures(url, {"one": one}, [(one, "webp", "v")])
    now = [0.0]
    finder = VariantFinder(repo, only_exact=True, clock=lambda: now[0])
    found = {"v": Variant(original="one")}
    assert finder(["v"]) == found
    engine = create_engine(url, poolclass=NullPool)
    with caplog.at_level(logging.INFO, logger="lemmy_safety.pictrs"):
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE variants RENAME TO hidden"))
        try:
            assert [finder(["v"]) for _ in range(5)] == [{}] * 5
        finally:
            with engine.begin() as connection:
                connection.execute(text("ALTER TABLE hidden RENAME TO variants"))
        assert finder(["v"]) == {}, "asked again at once"
        now[0] = 301.0
        assert finder(["v"]) == found
    said = [record.getMessage().split(":")[0] for record in caplog.records]
    assert said == [
        "each size of a picture is judged for now, because pict-rs's database does not tell them",
        "pict-rs's database answers again",
    ]


def test_a_database_of_an_unknown_version_tells_no_variants(url, repo, caplog) -> None:
    """Its tables may mean something else."""
    one = stored_hash(b"1")
    insert_pictures(url, {"one": one}, [(one, "webp", "v")])
    engine = create_engine(url, poolclass=NullPool)
    newer = "UPDATE refinery_schema_history SET version = version + :more WHERE version >= 14"
    with engine.begin() as connection:
        connection.execute(text(newer), {"more": 100})
    try:
        assert VariantFinder(repo, only_exact=True)(["v"]) == {}
    finally:
        with engine.begin() as connection:
            connection.execute(text(newer), {"more": -100})
    assert "pict-rs's database has schema 11" in caplog.text


def test_a_pass_without_the_database_judges_everything_and_says_why_once(tmp_path) -> None:
    """No server listens there."""
    root = tmp_path / "files"
    for number in range(3):
        put(root, f"{number}.png", picture(number))
    admin = admin_of(tmp_path, root, "postgresql://reader:pass-word-1@127.0.0.1:9/pictrs")
    done = admin.run("--all")
    assert done.stderr.count("each size of a picture is judged for now") == 1
    assert "pass-word-1" not in done.stderr + done.stdout


def recorded(database: Path) -> int:
    """How many objects are on record."""
    if not database.exists():
        return 0
    try:
        with open_ledger(sqlite_url(database), upgrade=False) as ledger:
            return sum(ledger.maintenance.stats().by_status.values())
    except LedgerError:
        return 0  # it is being created


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_kill_9_in_the_middle_leaves_no_size_without_a_judged_original(url, tmp_path) -> None:
    """After any number of kills and one full run, all is as if nothing had happened."""
    draw = random.Random(20261130)
    root = tmp_path / "files"
    originals = {f"m/{number:04}.png": gradient(number % 250, (160 + number // 250, 120)) for number in range(400)}
    variants = {f"{'az'[number % 2]}/{number:04}.webp": f"m/{number:04}.png" for number in range(360)}
    for key, data in originals.items():
        put(root, key, data)
    for key in variants:
        put(root, key, picture(int(key[2:6])))
    hashes = {key: stored_hash(data) for key, data in originals.items()}
    insert_pictures(url, hashes, [(hashes[of], "resize/64/webp", key) for key, of in variants.items()])
    admin = admin_of(tmp_path, root, url)
    killed = 0
    for _ in range(KILLS):
        before = recorded(tmp_path / "lemmy_safety.db")
        process = admin.start("--all")
        while process.poll() is None and recorded(tmp_path / "lemmy_safety.db") == before:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(draw.uniform(0.01, 0.2))
        killed += process.poll() is None
        process.kill()
        process.wait()
        if not (tmp_path / "lemmy_safety.db").exists():
            continue
        with open_ledger(sqlite_url(tmp_path / "lemmy_safety.db")) as ledger:
            found = ledger.objects.on_record([*originals, *variants])
        followed = {variants[key] for key, row in found.items() if row.assessment.status is ItemStatus.VARIANT}
        assert {found[key].assessment.outcome for key in followed} <= {Outcome.CLEAR}
    assert killed
    admin.run("--all")
    with open_ledger(sqlite_url(tmp_path / "lemmy_safety.db")) as ledger:
        assert ledger.maintenance.stats().by_status == {ItemStatus.CHECKED: 400, ItemStatus.VARIANT: 360}
