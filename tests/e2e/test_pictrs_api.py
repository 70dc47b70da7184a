"""The client and real pict-rs servers: each question, on each kind of repository that can run here."""

from __future__ import annotations

import hashlib
import io
import logging
from datetime import UTC, datetime, timedelta

import pytest
from PIL import Image
from support.admin import eventually
from support.servers.pictrs_process import API_KEY, Pictrs, alias
from support.servers.pictrs_repos import DUMMY, REPOS, leads_elsewhere, pictrs_with

from lemmy_safety.errors import PictrsError, PictrsLoginRefused, PictrsReadOnly
from lemmy_safety.pictrs.api.client import PictrsApi

pytestmark = pytest.mark.external_service

ODD = ['it\'s 100% "odd" #1?&=+.png', "x" * 996 + ".png", "ä ö.png", "%41%2e.png"]


@pytest.fixture(scope="module", params=REPOS)
def pictrs(request, tmp_path_factory):
    with pictrs_with(request.param, tmp_path_factory.mktemp("pictrs")) as (server, _):
        yield server


@pytest.fixture
def api(pictrs: Pictrs):
    with PictrsApi(url=address(pictrs), key=API_KEY, per_second=1000) as client:
        yield client


def address(pictrs: Pictrs) -> str:
    return f"http://127.0.0.1:{pictrs.port}"


def pictures(count: int) -> list[bytes]:
    """Pictures that no one has uploaded before."""
    return [png(Image.effect_noise((48, 32), 60)) for _ in range(count)]


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.convert("RGB").save(out, "PNG")
    return out.getvalue()


def stored(pictrs: Pictrs, name: str) -> bytes:
    return pictrs.get(f"/image/original/{name}").content


def test_a_picture_can_be_asked_about(pictrs, api):
    """Two aliases of the same bytes: key, hash, size, format and details agree with what is stored."""
    began = datetime.now(UTC)
    (data,) = pictures(1)
    one, other = alias(pictrs.upload(data)), alias(pictrs.upload(data))
    content = stored(pictrs, one)
    assert set(api.aliases(one)) == set(api.aliases(other)) == {one, other}
    key = api.identifier(one)
    assert key == api.identifier(other)
    assert (pictrs.files / key).read_bytes() == content
    served = api.served(other)
    assert served.hash.sha256 == hashlib.sha256(content).hexdigest()
    assert served.hash.size == len(content)
    assert one.endswith(f".{served.hash.format}")
    assert served.media_type == f"image/{served.hash.format}"
    details = api.details(one)
    assert details.content_type == served.media_type
    assert details.width > 0 < details.height
    assert began < details.created_at < datetime.now(UTC)
    (entry,) = api.hashes(limit=1).entries
    assert entry.hash == served.hash
    assert set(entry.aliases) == {one, other}
    assert entry.created_at == details.created_at


def test_what_it_does_not_know_is_none(api):
    for name in ["none.png", "", *ODD]:
        assert api.aliases(name) is None
        assert api.identifier(name) is None
        assert api.purge(name) is None
        assert api.delete(name) is False
    assert api.served("none.png") is api.details("none.png") is None


@pytest.mark.parametrize("name", ODD)
def test_an_odd_alias_is_imported_found_and_deleted(pictrs, api, name):
    """pict-rs drops what its form parser takes for a path or a comment; the rest is the alias, and is found."""
    (data,) = pictures(1)
    got = api.import_file(name, data, "image/png").alias
    assert api.aliases(got) == (got,)
    assert api.identifier(got) is not None
    assert api.served(got).hash.sha256 == hashlib.sha256(stored_under(pictrs, got)).hexdigest()
    assert api.delete(got) is True
    eventually(lambda: api.aliases(got) is None, "the alias is gone")


def stored_under(pictrs: Pictrs, name: str) -> bytes:
    return pictrs.get("/image/original", alias=name).content


def test_a_purge_removes_every_alias_and_says_which(pictrs, api):
    (data,) = pictures(1)
    names = {alias(pictrs.upload(data)) for _ in range(3)}
    file = pictrs.files / api.identifier(min(names))
    assert set(api.purge(min(names))) == names
    eventually(lambda: not any(api.aliases(name) for name in names) and not file.exists(), "all of it is gone")
    assert api.purge(min(names)) is None


def test_pages_go_from_the_newest_to_the_oldest(pictrs, api):
    """By slugs, and from any moment on."""
    names = [alias(pictrs.upload(data)) for data in pictures(5)]
    newest = api.hashes(limit=5)
    assert [entry.aliases[0] for entry in newest.entries] == names[::-1]
    first = api.hashes(limit=2)
    second = api.hashes(limit=2, slug=first.next)
    assert second.current == first.next == second.entries[0].hash.slug
    assert first.entries + second.entries == newest.entries[:4]
    older = api.hashes(limit=2, older_than=newest.entries[2].created_at)
    assert older.entries == newest.entries[3:5]
    nothing = api.hashes(limit=0, older_than=newest.entries[2].created_at)
    assert (nothing.entries, nothing.next) == ((), newest.entries[3].hash.slug)


def test_a_slug_whose_picture_is_gone_gives_the_newest_page(pictrs, api):
    """So a caller has to compare ``current``."""
    names = [alias(pictrs.upload(data)) for data in pictures(4)]
    slug = api.hashes(limit=2).next
    api.purge(names[1])
    eventually(lambda: leads_elsewhere(api, slug), "it is purged")
    page = api.hashes(limit=2, slug=slug)
    assert page.current == page.entries[0].hash.slug
    assert page.entries[0].aliases == (names[3],)


def test_a_moment_before_the_first_picture(pictrs, api):
    """Nothing is older; with PostgreSQL the newest page comes instead, so a caller has to compare moments."""
    alias(pictrs.upload(pictures(1)[0]))
    long_ago = datetime.now(UTC) - timedelta(days=365)
    page = api.hashes(limit=2, older_than=long_ago)
    assert all(entry.created_at > long_ago for entry in page.entries)


def test_the_key_is_checked_and_never_logged(pictrs, api, caplog):
    caplog.set_level(logging.DEBUG)
    api.check()
    api.check_writable()
    for key in ("another-key", ""):
        with PictrsApi(url=address(pictrs), key=key) as stranger, pytest.raises(PictrsLoginRefused) as caught:
            stranger.check()
        assert not key or key not in str(caught.value)
    assert API_KEY not in caplog.text + pictrs.log()


def test_a_refused_file_is_an_error(api):
    with pytest.raises(PictrsError, match="answers 4"):
        api.import_file("text.png", b"no picture", "image/png")


@pytest.mark.parametrize("kind", ["0.5-sled", "0.6-fjall"])
def test_read_only_mode_is_told_and_look_ups_go_on(tmp_path, kind):
    with pictrs_with(kind, tmp_path, DUMMY) as (server, _):
        name = alias(server.upload(b"anything"))
        server.stop(gently=True)
        server.change(PICTRS__SERVER__READ_ONLY="true")
        server.start()
        with PictrsApi(url=address(server), key=API_KEY) as api:
            api.check()
            assert api.aliases(name) == (name,)
            for ask in (
                api.check_writable,
                lambda: api.purge(name),
                lambda: api.delete(name),
                lambda: api.import_file("a.png", b"more", "image/png"),
            ):
                with pytest.raises(PictrsReadOnly):
                    ask()


@pytest.mark.parametrize(("kind", "shown"), [("0.5-sled", False), ("0.6-fjall", True)])
def test_from_0_6_on_it_shows_its_validator(tmp_path, kind, shown):
    url = "http://127.0.0.1:14051/validate/secret"
    settings = {"PICTRS__MEDIA__EXTERNAL_VALIDATION": url, "PICTRS__MEDIA__EXTERNAL_VALIDATION_TIMEOUT": "15"}
    with pictrs_with(kind, tmp_path, settings) as (server, _), PictrsApi(url=address(server), key=API_KEY) as api:
        limits = api.limits()
        assert (limits is not None) == shown
        if limits is not None:
            assert (limits.external_validation, limits.external_validation_timeout_s) == (url, 15)
