"""From an object to its picture, with real pict-rs servers that have really made thumbnails: exact, or said not to be."""

from __future__ import annotations

import hashlib
import io
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool
from support.admin import eventually
from support.media import moving_pictures
from support.scan.passes import keys_in
from support.servers import pgbouncer as pgbouncer_support
from support.servers.pictrs_process import API_KEY, Pictrs, alias
from support.servers.pictrs_repos import DUMMY, leads_elsewhere, pictrs_with

from lemmy_safety.errors import PictrsElsewhere, PictrsError, PictrsLoginRefused, PictrsTablesUnknown, PictrsUnreachable
from lemmy_safety.pictrs.api.client import PictrsApi
from lemmy_safety.pictrs.api.walking import walk
from lemmy_safety.pictrs.pictures.belonging import check_belonging
from lemmy_safety.pictrs.pictures.by_api import ApiFinder
from lemmy_safety.pictrs.pictures.by_database import DatabaseFinder
from lemmy_safety.pictrs.pictures.by_walk import find_all
from lemmy_safety.pictrs.pictures.records import Found, Unresolved
from lemmy_safety.pictrs.repo.checks import check_tables, writable_tables
from lemmy_safety.pictrs.repo.database import Repo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

pytestmark = pytest.mark.external_service

WITH_DATABASE = ("0.5-postgres", "0.6-postgres")
WITHOUT = ("0.5-sled", "0.6-fjall")


@pytest.fixture(scope="module", params=(*WITHOUT, *WITH_DATABASE))
def place(request, tmp_path_factory):
    """A pict-rs with pictures of every kind, and the URL of its database."""
    with pictrs_with(request.param, tmp_path_factory.mktemp("pictrs")) as (server, url):
        yield Place(server, url)


class Place:
    """Two uploads of one picture with a thumbnail each of two sizes, another picture, and a video with its still."""

    def __init__(self, server: Pictrs, url: str | None) -> None:
        self.server, self.url = server, url
        data = noise()
        self.names = {alias(server.upload(data)), alias(server.upload(data))}
        self.other = alias(server.upload(noise()))
        frames = moving_pictures.drifting(8, size=(64, 48))
        video = moving_pictures.video(frames, moving_pictures.CODECS["webm vp9"])
        self.video = alias(server.upload(video, "video/webm"))
        originals = keys_in(server.files)
        self.variants = {}
        name = min(self.names)
        for size in ("16", "32"):
            answer = server.get("/image/process.webp", src=name, thumbnail=size)
            assert answer.status_code == 200, answer.text
            (new,) = keys_in(server.files) - originals - set(self.variants.values())
            self.variants[f"thumbnail/{size}/webp"] = new

    def key(self, name: str) -> str:
        return self.server.internal("GET", "identifier", alias=name).json()["identifier"]

    def sha256(self, key: str) -> str:
        return hashlib.sha256((self.server.files / key).read_bytes()).hexdigest()


@pytest.fixture
def api(place):
    with PictrsApi(url=address(place.server), key=API_KEY, per_second=1000) as client:
        yield client


@pytest.fixture
def repo(place):
    if place.url is None:
        pytest.skip("it has no PostgreSQL database")
    with Repo(make_url(place.url)) as database:
        yield database


def address(server: Pictrs) -> str:
    return f"http://127.0.0.1:{server.port}"


def noise() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((64, 48), 60).convert("RGB").save(out, "PNG")
    return out.getvalue()


def test_an_original_is_found_over_http_alone(place, api):
    """By the time in its key and its bytes, with all its aliases."""
    key = place.key(min(place.names))
    found = ApiFinder(api).by_keys({key: place.sha256(key)})[key]
    assert isinstance(found, Found), found
    assert found.part == "original"
    assert {each.name for each in found.picture.aliases} == place.names
    assert found.picture.original == key
    assert found.picture.sha256 == place.sha256(key)
    assert found.picture.size == (place.server.files / key).stat().st_size
    assert (found.picture.motion, found.picture.variants) == (None, None)


def test_over_http_alone_a_variant_is_not_guessed(place, api):
    """Nor a key without its bytes, nor bytes that lie under another key."""
    key, other = place.key(min(place.names)), place.key(place.other)
    variant = place.variants["thumbnail/16/webp"]
    finder = ApiFinder(api)
    asked = {variant: place.sha256(variant), key: None, other: place.sha256(key), "001/002/x.png": "0" * 64}
    answers = finder.by_keys(asked)
    assert all(isinstance(answer, Unresolved) for answer in answers.values()), answers
    assert "another size" in answers[variant].reason
    assert "SHA-256 is not known" in answers[key].reason
    assert f"under another key, {key}" in answers[other].reason
    assert "of the form that pict-rs gives since 0.5.7" in answers["001/002/x.png"].reason


def test_a_picture_is_found_by_any_of_its_aliases(place, api):
    for name in place.names:
        picture = ApiFinder(api).by_alias(name)
        assert {each.name for each in picture.aliases} == place.names
        assert picture.original == place.key(name)
        assert picture.sha256 == place.sha256(picture.original)
    assert ApiFinder(api).by_alias("none.png") is None


def test_with_the_database_every_part_of_a_picture_is_found(place, repo):
    """Originals, motion stills and variants, each with all the rest."""
    finder = DatabaseFinder(repo)
    key = place.key(min(place.names))
    video = finder.by_alias(place.video)
    answers = finder.by_keys(dict.fromkeys([key, *place.variants.values(), video.motion, "none"]))
    assert isinstance(answers.pop("none"), Unresolved)
    assert all(isinstance(answer, Found) for answer in answers.values()), answers
    picture = answers[key].picture
    assert answers[key].part == "original"
    assert {each.name for each in picture.aliases} == place.names
    assert picture.sha256 == place.sha256(key)
    assert picture.variants == place.variants
    for operation, variant in place.variants.items():
        found = answers[variant]
        assert (found.part, found.operation, found.picture) == ("variant", operation, picture)
    assert video.original == place.key(place.video) != video.motion
    assert (answers[video.motion].part, answers[video.motion].picture) == ("motion", video)
    for name in place.names:
        assert finder.by_alias(name) == picture
    assert finder.by_alias("none.png") is None


def test_the_database_says_the_same_as_the_http_interface(place, repo, api):
    for name in (*place.names, place.other, place.video):
        by_api, by_database = ApiFinder(api).by_alias(name), DatabaseFinder(repo).by_alias(name)
        for fact in ("sha256", "size", "format", "original"):
            assert getattr(by_api, fact) == getattr(by_database, fact), fact
        assert {each.name for each in by_api.aliases} == {each.name for each in by_database.aliases}


def test_a_walk_finds_every_picture_and_goes_on_where_it_was(place, api, monkeypatch):
    """Two pictures a page, and a new client for each step, as after a restart."""
    monkeypatch.setattr("lemmy_safety.pictrs.api.walking.PAGE", 2)
    wanted = {place.sha256(place.key(name)): name for name in (min(place.names), place.other, place.video)}
    found, position, steps = {}, None, 0
    while True:
        with PictrsApi(url=address(place.server), key=API_KEY) as client:
            step = next(find_all(client, wanted, start=position))
        steps += 1
        assert step.seen <= 2
        found |= step.found
        position = step.then
        if position is None:
            break
    assert steps == 2
    assert set(found) == set(wanted)
    assert all(place.sha256(place.key(name)) == digest for digest, name in found.items())


def test_a_walk_goes_on_when_the_picture_that_it_stopped_at_is_gone(place, api, monkeypatch):
    """pict-rs then gives the newest page instead; nothing is skipped."""
    monkeypatch.setattr("lemmy_safety.pictrs.api.walking.PAGE", 2)
    extra = [alias(place.server.upload(noise())) for _ in range(3)]
    first = next(walk(api))
    assert {entry.aliases for entry in first.entries} == {(extra[2],), (extra[1],)}
    api.purge(extra[0])
    slug = first.then.slug
    eventually(lambda: leads_elsewhere(api, slug), "the next picture is purged")
    rest = [name for stretch in walk(api, start=first.then) for entry in stretch.entries for name in entry.aliases]
    assert place.names | {place.other, place.video} <= set(rest)


def test_the_right_storage_is_known_from_another_one(place, api):
    there, asked = check_belonging(api, lambda key: (place.server.files / key).is_file())
    assert there == asked >= 3
    with pytest.raises(PictrsElsewhere, match="none of"):
        check_belonging(api, set().__contains__)


def test_the_tables_are_those_that_are_expected(repo):
    with repo.reading() as connection:
        assert check_tables(connection) in (14, 15)
        assert writable_tables(connection) == ["aliases", "hashes", "proxies", "refinery_schema_history", "variants"]


def test_nothing_can_be_written_even_by_the_owner(repo):
    with pytest.raises(PictrsError, match="read-only transaction"), repo.reading() as connection:
        connection.execute(text("DELETE FROM aliases"))


def test_a_reader_is_enough_and_may_not_write(place, repo):
    """With the statement that our hint shows."""
    with as_owner(place.url) as owner:
        owner.execute(text("DROP OWNED BY safety_reader" if has_role(owner) else "SELECT 1"))
        owner.execute(text("DROP ROLE IF EXISTS safety_reader"))
        owner.execute(text("CREATE ROLE safety_reader LOGIN PASSWORD 'x'"))
    url = make_url(place.url).set(username="safety_reader")
    with Repo(url) as reader:
        with pytest.raises(PictrsLoginRefused, match="refuses this role") as caught, reader.reading() as connection:
            DatabaseFinder(reader).by_alias("x")
        assert "GRANT SELECT" in caught.value.hint
        may_not = pytest.raises(PictrsLoginRefused, match="may not read pict-rs's tables aliases")
        with may_not, reader.reading() as connection:
            check_tables(connection)
        with as_owner(place.url) as owner:
            owner.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO safety_reader"))
        with reader.reading() as connection:
            assert check_tables(connection) in (14, 15)
            assert writable_tables(connection) == []
        assert DatabaseFinder(reader).by_alias(place.other).original == place.key(place.other)


@contextmanager
def as_owner(url: str) -> Iterator[Connection]:
    """A transaction of the role that owns the tables."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        yield connection


def has_role(connection) -> bool:
    return connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = 'safety_reader'")).scalar() is not None


def test_look_ups_work_through_a_pool_of_transactions(place, repo):
    if missing := pgbouncer_support.missing_pgbouncer():
        pytest.skip(missing)
    base, _, name = place.url.rpartition("/")
    with pgbouncer_support.pgbouncer_before(base) as pool, ExitStack() as stack:
        repos = [stack.enter_context(Repo(make_url(f"{pool}/{name}"))) for _ in range(6)]
        key = place.key(place.other)
        for _ in range(3):
            for each in repos:
                assert DatabaseFinder(each).by_keys({key: None})[key].part == "original"


def test_another_database_and_an_unknown_schema_are_refused(place, repo):
    base, _, _ = place.url.rpartition("/")
    with Repo(make_url(f"{base}/postgres")) as other:
        with pytest.raises(PictrsTablesUnknown, match=r"not in .* as expected"):
            DatabaseFinder(other).by_alias("x")
        with pytest.raises(PictrsTablesUnknown, match=r"lacks aliases\.alias"), other.reading() as connection:
            check_tables(connection)
    with Repo(make_url(f"{base}/none")) as missing, pytest.raises(PictrsUnreachable, match="cannot be reached"):
        DatabaseFinder(missing).by_alias("x")
    with as_owner(place.url) as owner:
        owner.execute(text("INSERT INTO refinery_schema_history (version, name) VALUES (99, 'x')"))
    try:
        with pytest.raises(PictrsTablesUnknown, match="schema 99, and 14 and 15"), repo.reading() as connection:
            check_tables(connection)
    finally:
        with as_owner(place.url) as owner:
            owner.execute(text("DELETE FROM refinery_schema_history WHERE version = 99"))


@pytest.mark.parametrize("kind", ["0.5-postgres", "0.6-postgres"])
@pytest.mark.parametrize("broken", [{2}, {0, 1, 4}])
def test_a_page_that_pictrs_cannot_show_hides_nothing_but_the_broken_pictures(tmp_path, kind, broken):
    """Their originals are missing and no blurhash of them is stored: pict-rs answers 500 to every page with one."""
    with pictrs_with(kind, tmp_path) as (server, url), PictrsApi(url=address(server), key=API_KEY) as api:
        names = [alias(server.upload(noise())) for _ in range(5)]
        keys = [api.identifier(name) for name in names]
        digests = {key: hashlib.sha256((server.files / key).read_bytes()).hexdigest() for key in keys}
        for number in broken:
            (server.files / keys[number]).unlink()
        with as_owner(url) as owner:
            owner.execute(text("UPDATE hashes SET blurhash = NULL"))
        with pytest.raises(PictrsError, match="answers 500"):
            api.hashes(limit=5)
        stretches = list(walk(api))
        listed = {name for stretch in stretches for entry in stretch.entries for name in entry.aliases}
        assert listed == {name for number, name in enumerate(names) if number not in broken}
        assert any(stretch.hidden for stretch in stretches)
        answers = ApiFinder(api).by_keys(digests)
        for number, key in enumerate(keys):
            if number in broken:
                assert "fails to list some pictures of that time" in answers[key].reason
            else:
                assert isinstance(answers[key], Found), (number, answers[key])


def test_many_pictures_in_the_same_minute_are_told_apart(tmp_path):
    """In pict-rs's dummy mode, where an upload takes a few milliseconds."""
    with pictrs_with("0.5-sled", tmp_path, DUMMY) as (server, _), PictrsApi(url=address(server), key=API_KEY) as api:
        names = [alias(server.upload(f"picture {number}".encode())) for number in range(250)]
        keys = {server.internal("GET", "identifier", alias=name).json()["identifier"]: name for name in names[::25]}
        digests = {key: hashlib.sha256((server.files / key).read_bytes()).hexdigest() for key in keys}
        answers = ApiFinder(api).by_keys(digests)
        assert {key: [each.name for each in answer.picture.aliases] for key, answer in answers.items()} == {
            key: [name] for key, name in keys.items()
        }
