"""An admin asks about a picture, and doctor about pict-rs: the command in its own process, and real pict-rs servers."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool
from support.admin import Admin, free_port
from support.scan.passes import keys_in
from support.servers.imitated_pictrs import imitated_pictrs, version_04
from support.servers.pictrs_process import API_KEY, Pictrs, alias
from support.servers.pictrs_repos import DUMMY, pictrs_with

from lemmy_safety.cli.checks.pictrs import check_pictrs
from lemmy_safety.detectors.hashes.canary import canary_image
from lemmy_safety.settings import load_settings

if TYPE_CHECKING:
    from lemmy_safety.cli.checks.check import Check

pytestmark = pytest.mark.external_service

KINDS = ("0.5-sled", "0.5-postgres", "0.6-fjall")


@pytest.fixture(scope="module", params=KINDS)
def place(request, tmp_path_factory):
    """A pict-rs with a harmless picture and a canary, which has two aliases and a thumbnail that shows it too."""
    with pictrs_with(request.param, tmp_path_factory.mktemp("pictrs")) as (server, url):
        yield Place(server, url)


class Place:
    def __init__(self, server: Pictrs, url: str | None) -> None:
        self.server, self.url = server, url
        canary = png(canary_image())
        self.harmless = alias(server.upload(png(Image.effect_noise((64, 48), 60))))
        self.names = sorted(alias(server.upload(canary)) for _ in range(2))
        before = keys_in(server.files)
        assert server.get("/image/process.webp", src=self.names[0], thumbnail="256").status_code == 200
        (self.thumbnail,) = keys_in(server.files) - before
        self.key = server.internal("GET", "identifier", alias=self.names[0]).json()["identifier"]
        self.sha256 = hashlib.sha256((server.files / self.key).read_bytes()).hexdigest()


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.convert("RGB").save(out, "PNG")
    return out.getvalue()


def settings(server: Pictrs, **more: str) -> dict[str, str]:
    return {
        "PICTRS_FILES_DIRECTORY": str(server.files),
        "LEMMY_SAFETY_DETECTORS": "hashes",
        "PICTRS_URL": f"http://127.0.0.1:{server.port}",
        "PICTRS_API_KEY": API_KEY,
        **more,
    }


@pytest.fixture
def admin(place, tmp_path) -> Admin:
    admin = Admin(tmp_path, settings(place.server))
    if place.url:
        admin.env["PICTRS_DATABASE_URL"] = place.url.replace("postgresql+psycopg", "postgres")
    return admin


def checks_of(env: dict[str, str], *, hook_in_use: bool = False) -> dict[str, Check]:
    """What doctor finds about pict-rs, by the names of the checks."""
    found = list(check_pictrs(load_settings(environ=env), hook_in_use=hook_in_use))
    assert {check.area for check in found} <= {"pict-rs"}
    return {check.name: check for check in found}


def test_a_picture_is_shown_by_its_key_its_aliases_and_its_addresses(place, admin):
    """All names of it lead to the same answer, with the verdict of the last pass; nothing is changed."""
    admin.run("--all", "--dry-run")
    before = keys_in(place.server.files)
    for name in (
        place.key,
        *place.names,
        f"https://lemmy.example.com/pictrs/image/{place.names[1]}?format=webp&thumbnail=256",
        f"https://lemmy.example.com/api/v4/image/{place.names[0]}",
    ):
        shown = admin.json("picture", name)
        assert (shown["part"], shown["outcome"], shown["sha256"]) == ("original", "flagged", place.sha256), name
        assert [each["alias"] for each in shown["aliases"]] == place.names
        assert shown["original"]["key"] == place.key
        assert shown["original"]["outcome"] == "flagged"
        others = shown["variants"]
        if place.url:
            assert [(what, each["key"]) for what, each in others.items()] == [("thumbnail/256/webp", place.thumbnail)]
            assert others["thumbnail/256/webp"]["outcome"] == "flagged"
        else:
            assert others is None
    text_shown = admin.run("picture", place.names[0]).stdout
    assert f"sha256    {place.sha256}" in text_shown
    assert "verdict   flagged as possible" in text_shown
    assert ("other sizes are not known" in text_shown) == (place.url is None)
    assert keys_in(place.server.files) == before
    assert admin.json("picture", place.harmless)["outcome"] == "clear"


def test_another_size_leads_to_its_original_only_with_the_database(place, admin):
    """Over HTTP alone it is said that it is not known; nothing is guessed."""
    admin.run("--all", "--dry-run")
    if place.url:
        shown = admin.json("picture", place.thumbnail)
        assert (shown["part"], shown["operation"]) == ("variant", "thumbnail/256/webp")
        assert shown["original"]["key"] == place.key
        assert "not the original, but thumbnail/256/webp" in admin.run("picture", place.thumbnail).stdout
    else:
        assert "another size of a picture" in admin.run("picture", place.thumbnail, code=88).stderr


def test_a_picture_is_shown_before_any_pass(place, admin):
    """There is no database of ours yet, and none is made."""
    shown = admin.json("picture", place.names[0])
    assert (shown["outcome"], shown["sha256"]) == (None, place.sha256)
    assert "verdict   not judged" in admin.run("picture", place.names[0]).stdout
    assert not (admin.folder / "lemmy_safety.db").exists()


def test_what_pictrs_does_not_have_is_said(admin):
    assert "has no picture none.png" in admin.run("picture", "none.png", code=88).stderr
    proxied = "https://lemmy.example.com/api/v3/image_proxy?url=https%3A%2F%2Fx.example%2Fa.png"
    assert "of another server" in admin.run("picture", proxied, code=2).stderr


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_a_mistake_in_the_command(tmp_path, name):
    """A variable that is not set; pict-rs is not asked about it."""
    said = Admin(tmp_path, {"PICTRS_URL": "http://127.0.0.1:1", "PICTRS_API_KEY": API_KEY}).run("picture", name, code=2)
    assert "Error: NAME is empty." in said.stderr


def test_doctor_finds_a_good_set_up_good(place, admin):
    checks = checks_of(admin.env)
    assert checks["interface"].ok is True
    assert checks["storage"].detail == "of its 2 newest pictures 2 are in this storage"
    assert ("database" in checks) == (place.url is not None)
    if place.url:
        assert "at schema 14" in checks["database"].detail
        # The test's own role owns the tables.
        assert checks["database role"].ok is None
        assert "CREATE ROLE" in checks["database role"].fix
    assert checks_of({"PICTRS_FILES_DIRECTORY": "x"}) == {}


def test_the_command_shows_them(place, admin):
    """In an area of their own, and its exit code is that of the fault."""
    admin.env["PICTRS_API_KEY"] = "wrong-key-0123"
    done = admin.run("doctor", "--quick", code=82)
    assert "FAULT interface: pict-rs at" in done.stdout
    assert "PICTRS__SERVER__API_KEY" in done.stdout
    assert "wrong-key-0123" not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def dummy(tmp_path_factory):
    """A pict-rs that was asked for nothing yet but one upload."""
    with pictrs_with("0.5-sled", tmp_path_factory.mktemp("dummy"), DUMMY) as (server, _):
        server.upload(b"a picture")
        yield server


def test_each_fault_of_the_interface_is_named_with_its_fix(dummy, tmp_path):
    """A refused key, no server, another service, no key, the storage of another pict-rs. No secret is shown."""
    with imitated_pictrs() as service:
        for change, code, check, words in (
            ({"PICTRS_API_KEY": "wrong-key-0123"}, 82, "interface", "PICTRS__SERVER__API_KEY"),
            ({"PICTRS_URL": f"http://127.0.0.1:{free_port()}"}, 81, "interface", "is up"),
            ({"PICTRS_URL": service.url}, 83, "interface", "port 8080"),
            ({"PICTRS_API_KEY": ""}, 3, "interface", "Set PICTRS_API_KEY"),
            ({"PICTRS_URL": ""}, 3, "interface", "Set PICTRS_URL"),
            ({"PICTRS_URL": "pictrs:8080"}, 3, "interface", "http://127.0.0.1:8080"),
            ({"PICTRS_FILES_DIRECTORY": str(tmp_path)}, 87, "storage", "of the same pict-rs"),
        ):
            found = checks_of(settings(dummy) | change)[check]
            assert (found.ok, found.exit_code) == (False, code), change
            assert words in found.fix
            assert not any(key in str(found) for key in (API_KEY, "wrong-key-0123"))


def test_each_fault_of_the_database_is_named_with_its_fix(place, admin, dummy):
    """Another database, no server, a refused role, no PostgreSQL at all, the database of another pict-rs."""
    if place.url is None:
        pytest.skip("it has no PostgreSQL database")
    base = admin.env["PICTRS_DATABASE_URL"].rpartition("/")[0]
    engine = create_engine(place.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as owner:
        owner.execute(text("CREATE DATABASE another TEMPLATE template0"))
        owner.execute(text("CREATE ROLE stranger LOGIN"))
    for url, code, words in (
        (f"{base}/another", 86, "repo.url, not to Lemmy's"),
        (f"postgres://me:word-0123@127.0.0.1:{free_port()}/pictrs", 81, "server is up"),
        (f"{base.replace('test:secret-word', 'stranger')}/pictrs", 82, "GRANT SELECT"),
        (f"{base.replace('test:secret-word', 'nosuchrole:word-0123')}/pictrs", 82, "GRANT SELECT"),
        ("sqlite:///a.db", 3, "sled, fjall"),
        ("mysql://host/x", 3, "postgresql://"),
    ):
        found = checks_of({"PICTRS_DATABASE_URL": url})["database"]
        assert (found.ok, found.exit_code) == (False, code), url
        assert words in found.fix, found
        assert "word-0123" not in str(found)
    url = admin.env["PICTRS_DATABASE_URL"]
    found = checks_of(settings(dummy, PICTRS_DATABASE_URL=url))["database"]
    assert (found.exit_code, "newest picture is missing" in found.detail) == (87, True)


def test_doctor_reminds_of_a_key_that_is_the_database_s_password_too():
    """As lemmy-ansible sets it. Neither is shown, and another key gives no reminder."""
    url = f"postgresql://me:{{}}@127.0.0.1:{free_port()}/pictrs"
    for password, key, reminded in (
        ("secret-word-0123", "secret-word-0123", True),
        ("secret%2Fword%400123", "secret/word@0123", True),
        ("secret-word-0123", "another-word-0123", False),
    ):
        env = {"PICTRS_URL": "http://127.0.0.1:1", "PICTRS_API_KEY": key, "PICTRS_DATABASE_URL": url.format(password)}
        found = checks_of(env)
        assert ("API key" in found) == reminded
        assert not any(word in str(found) for word in (password, key))


@pytest.mark.parametrize("kind", ["0.6-fjall"])
def test_read_only_mode_is_seen_and_whose_validator_is_set(tmp_path, kind):
    """From 0.6 on pict-rs shows its validator; the secret in its URL is not repeated."""
    hook = {"PICTRS__MEDIA__EXTERNAL_VALIDATION": "http://127.0.0.1:14051/validate/secret-in-the-url"}
    with pictrs_with(kind, tmp_path / "pictrs", {**hook, **DUMMY}) as (server, _):
        env = settings(server, HOOK_SECRET="secret-in-the-url")
        found = checks_of(env, hook_in_use=True)
        assert (found["validator"].ok, found["storage"].ok) == (True, None)
        assert "secret" not in str(found)
        other = checks_of({**env, "HOOK_PORT": "14052"}, hook_in_use=True)["validator"]
        assert "asks another validator: 127.0.0.1:14051" in other.detail
        server.stop(gently=True)
        server.change(PICTRS__SERVER__READ_ONLY="true")
        server.forget("PICTRS__MEDIA__EXTERNAL_VALIDATION")
        server.start()
        found = checks_of(env, hook_in_use=True)
        assert found["read-only mode"].ok is False
        assert "End its read-only mode" in found["read-only mode"].fix
        assert found["validator"].detail == "pict-rs asks no one about uploads"
        assert "validator" not in checks_of(env)


def test_what_version_0_4_cannot_is_said(tmp_path):
    """An imitation: 0.4 cannot be built here."""
    with imitated_pictrs() as server:
        server.answer = version_04({})
        env = {"PICTRS_FILES_DIRECTORY": str(tmp_path), "PICTRS_URL": server.url, "PICTRS_API_KEY": API_KEY}
        found = checks_of(env)
        assert found["interface"].ok is True
        assert "older than 0.5" in found["version"].detail
