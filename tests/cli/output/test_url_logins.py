"""A URL's login is shown nowhere, also where the password holds the characters that end one."""

from __future__ import annotations

import re
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.cli.output.failures import present
from lemmy_safety.cli.output.redaction import Redaction
from lemmy_safety.errors import LemmySafetyError, SettingsError, StorageError
from lemmy_safety.ledger.database.urls import parse_url, shown_url
from lemmy_safety.relay.worker.server_address import checked_url
from lemmy_safety.settings import load_settings, proxies
from lemmy_safety.storage.s3.endpoint import shown_endpoint
from lemmy_safety.url_logins import hide_logins, secrets_of, without_login

#: What ends a user, a password or a host for one parser or another, between letters that are found again in an output.
LOGINS = st.lists(
    st.text("QXZ", min_size=2, max_size=6) | st.sampled_from(["@", ":", "/", "#", "?", "%", "[", "]", "&", "=", "\\"]),
    min_size=1,
    max_size=9,
).map("".join)
KINDS = ["postgresql", "postgresql+psycopg", "postgres", "http", "https", "socks5h"]

#: The issue's own, and its relatives.
PASSWORDS = [
    "QXZ@ZXQ",
    "QX@ZX@QZ",
    "@QXZ",
    "QXZ@",
    "QX/ZX@QZ",
    "QX@ZX/QZ",
    "QX@ZX:QZ",
    "QX@ZX?QZ",
    "QX#ZX@QZ",
    "QX@9/Z@Q",
]


def _letters(text: str) -> set[str]:
    return set(re.findall("[QXZ]{2,}", text))


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(
    "command", [("db", "stats"), ("doctor", "--quick"), ("--all",), ("flagged",), ("--debug", "db", "upgrade")]
)
def test_nothing_of_the_password_is_printed_and_the_way_to_write_it_is(call, store, password, command) -> None:
    """Whatever is asked for, and with the traceback, too."""
    url = f"postgresql+psycopg://lemmy:{password}@127.0.0.1:9/lemmy"
    result = call(*command, env={"DATABASE_URL": url})
    assert result.exit_code != 0
    assert not _letters(result.output)
    if "@" in password:
        assert "%40" in result.output


@given(kind=st.sampled_from(KINDS[:3]), login=LOGINS)
def test_a_database_url_is_parsed_as_it_is_meant_or_refused(kind, login) -> None:
    """A login of any characters is never taken for the host, and never shown."""
    try:
        parsed = parse_url(f"{kind}://{login}@host.invalid:5432/name")
    except LemmySafetyError as error:
        refusal = error
    else:
        assert (parsed.host, parsed.port, parsed.database) == ("host.invalid", 5432, "name")
        assert not _letters(shown_url(parsed))
        return
    assert not _letters(str(refusal))
    assert "%40" in refusal.hint


@pytest.mark.parametrize("password", ["p@s:s/w#r?d%", "@", "@@@", "ü@ß"])
def test_an_encoded_password_is_taken_whole(password) -> None:
    """What the hint says works."""
    parsed = parse_url(f"postgresql://me%40corp:{quote(password, safe='')}@host/db")
    assert (parsed.username, parsed.password, parsed.host) == ("me@corp", password, "host")


@pytest.mark.parametrize(
    "url",
    ["sqlite:////srv/me@home/x.db", "sqlite:///a@b@c.db", "postgresql://host/db", "postgresql://me@corp:x@host/db"],
)
def test_an_at_sign_elsewhere_does_no_harm(url) -> None:
    """A file's name, no login at all, and an account with one: all are clear."""
    assert parse_url(url).database


@given(kind=st.sampled_from(KINDS), login=LOGINS)
def test_no_text_shows_the_login_of_a_url_in_it(kind, login) -> None:
    """Our errors, whatever a vendor's library put into them, and what was typed."""
    text = f"Failed to connect to proxy URL: '{kind}://{login}@host.invalid:3128/x' (2 times)"
    for shown in (hide_logins(text), StorageError(text).message, Redaction()(text)):
        assert not _letters(shown)
        assert "host.invalid:3128/x" in shown
        assert shown.endswith("(2 times)")
    assert without_login(f"{kind}://{login}@host.invalid/x") == f"{kind}://host.invalid/x"


@given(login=LOGINS)
def test_an_endpoint_and_a_relay_never_show_a_login(login) -> None:
    """Also where what is before the last @ would pass for a host and a path."""
    for scheme in ("http://", "https://", ""):
        assert not _letters(shown_endpoint(f"{scheme}{login}@host.invalid"))
        with pytest.raises(LemmySafetyError) as caught:
            checked_url(f"{scheme}{login}@host.invalid")
        assert not _letters(str(caught.value))


@given(password=st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=4, max_size=12))
def test_what_parsers_cut_out_of_a_login_is_hidden_as_well(password) -> None:
    """``httpx`` and ``urllib`` find other hosts than SQLAlchemy; each would show its own piece."""
    known = secrets_of(f"http://me:{password}@host")
    assert password in known
    for at in (index for index, sign in enumerate(password) if sign in "@:/?#"):
        assert f"{password[at + 1 :]}@" in known - {""} or at == len(password) - 1


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "all_proxy", "Http_Proxy"])
@pytest.mark.parametrize("password", PASSWORDS)
def test_a_proxy_keeps_its_password_to_itself(capsys, monkeypatch, name, password) -> None:
    """Without a scheme, too, as proxies are often written; a library's own words about it are shown without."""
    monkeypatch.setenv(name, f"me:{password}@proxy.invalid:3128")
    redaction = Redaction()
    redaction.learn(load_settings(environ={}), urls=proxies())
    present(StorageError(f"no proxy me:{password}@proxy.invalid:3128"), debug=True, redaction=redaction)
    try:
        httpx.URL(f"http://me:{password}@proxy.invalid:3128")
    except httpx.InvalidURL as error:
        present(StorageError(str(error)), debug=False, redaction=redaction)
    assert not _letters(capsys.readouterr().err)


def test_hosts_that_need_no_proxy_are_no_secrets() -> None:
    """NO_PROXY is a list of names that messages need."""
    assert proxies({"NO_PROXY": "a@b", "no_proxy": "c", "FTP_PROXY": ""}) == ()


@pytest.mark.parametrize("arguments", [("flagged", "{}"), ("{}",), ("--nope={}",), ("db", "{}")])
def test_a_url_in_the_wrong_place_of_the_command_line_is_not_repeated(call, arguments) -> None:
    """An admin who forgot the name of the option sees what is wrong, and no password."""
    result = call(*(text.format("postgresql://me:QX@ZX@host/db") for text in arguments))
    assert result.exit_code != 0
    assert not _letters(result.output)


def test_the_error_is_one_of_the_settings() -> None:
    """No restart cures it, which its code tells a service manager."""
    with pytest.raises(SettingsError, match="not clear where the password"):
        parse_url("postgresql://me:QX@ZX@host/db")
