"""A secret that is a common word: hidden in what others say, and not told by a gap in our own sentences."""

from __future__ import annotations

import ast
import functools
import logging
import re
import sqlite3
from pathlib import Path
from urllib.parse import quote

import httpx
import paramiko
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import examples

import lemmy_safety
from lemmy_safety.cli.output.failures import present
from lemmy_safety.cli.output.logs import set_up_logging
from lemmy_safety.cli.output.redaction import HIDDEN, Redaction
from lemmy_safety.cli.output.text import plural
from lemmy_safety.errors import LemmySafetyError, StorageError
from lemmy_safety.foreign import keep_secret
from lemmy_safety.ledger.database.faults import translated
from lemmy_safety.outgoing import ServerTrouble, _by_way_of
from lemmy_safety.settings import OPTIONS, load_settings
from lemmy_safety.storage.s3.errors import CODES, storage_error
from lemmy_safety.storage.ssh.errors import translate

#: What no sentence of ours and none of a library's has in it.
STRANGE = "Zq9xWv7k"

#: Words that people take for a password, and that our sentences have.
COMMON = [
    "relay",
    "short",
    "password",
    "database",
    "storage",
    "lemmy",
    "pictrs",
    "secret",
    "server",
    "lemmy_safety",
    "user",
]


@functools.cache
def our_sentences() -> list[str]:
    """All texts of the package with a blank in them: messages, hints, helps."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in Path(lemmy_safety.__file__).parent.rglob("*.py")]
    texts = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return sorted(text for text in texts if isinstance(text, str) and " " in text.strip() and "://" not in text)


@functools.cache
def our_words() -> list[str]:
    """Every word of them that is long enough to be hidden."""
    return sorted({word for text in our_sentences() for word in re.findall(r"[\w-]{4,}", text)})


def knowing(secret: str, name: str = "SSH_PASSPHRASE") -> Redaction:
    redaction = Redaction()
    redaction.learn(load_settings(environ={name: secret}))
    return redaction


@pytest.mark.long
@given(data=st.data())
def test_a_word_of_ours_leaves_no_gap_in_a_sentence_of_ours(data) -> None:
    """Whichever it is: as the passphrase, as a password in a URL, and in the plural."""
    word = data.draw(st.sampled_from(our_words()))
    sentence = data.draw(st.sampled_from([text for text in our_sentences() if word in text]))
    sentence += f" {plural(2, word)}"
    for redaction in (
        knowing(word),
        knowing(f"{word}s"),
        knowing(f"postgresql://me:{word}@host/db", "DATABASE_URL"),
    ):
        assert redaction(sentence) == sentence


@pytest.mark.long
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(30))
@given(data=st.data())
@pytest.mark.parametrize(("name", "command"), [("HOOK_SECRET", ("serve",)), ("RELAY_APIKEY", ("serve", "--relay"))])
def test_a_refused_secret_cannot_be_told_from_the_refusal(call, name, command, data) -> None:
    """What is printed is the same, whatever the secret is: also a word of it, or a part of one (short, of shorter)."""
    strange = call(*command, env={name: STRANGE}).output
    assert "shorter than 16" in strange
    word = data.draw(st.sampled_from(re.findall(r"[A-Za-z0-9._~-]{4,}", strange)))
    begin = data.draw(st.integers(0, len(word) - 4))
    secret = word[begin : data.draw(st.integers(begin + 4, min(len(word), begin + 15)))]
    assert call(*command, env={name: secret}).output == strange


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("word", COMMON)
def test_doctor_says_the_same_whatever_the_secrets_are(call, word) -> None:
    """All secrets of the settings at once, also those that are refused, with tracebacks."""
    call("db", "upgrade")

    def said(secret):
        names = {item.env[0]: secret for item in OPTIONS.values() if item.secret and item.name != "database_url"}
        return re.sub(r"[\d,.]+ (MB free|frames)", "", call("--debug", "doctor", "--quick", env=names).output)

    assert "shorter than 16" in said(STRANGE)
    assert said(word) == said(STRANGE)


def _from_httpx(secret: str) -> Exception:
    try:
        httpx.URL(f"http://host:x{secret}/")
    except httpx.InvalidURL as error:
        return ServerTrouble(_by_way_of(None, error))
    raise AssertionError(secret)


def _from_sqlite(secret: str) -> Exception:
    try:
        with translated("x.db"):
            sqlite3.connect(":memory:").execute(f'DELETE FROM "{secret}"')  # noqa: S608
    except LemmySafetyError as error:
        return error
    raise AssertionError(secret)


#: Third-party texts that repeat a secret, as they become errors of ours; and the words of the library around it.
ENTRIES = {
    "a server's answer": (
        lambda secret: storage_error(
            ClientError({"Error": {"Code": "Odd", "Message": f"got: {secret}!"}}, "GetObject"), "the place"
        ),
        "Odd got: !",
    ),
    "a server's code": (
        lambda secret: storage_error(ClientError({"Error": {"Code": secret}}, "GetObject"), "the place"),
        "",
    ),
    "botocore": (
        lambda secret: storage_error(EndpointConnectionError(endpoint_url=secret), "the place"),
        str(EndpointConnectionError(endpoint_url="")),
    ),
    "paramiko": (lambda secret: translate(paramiko.SSHException(f"got: {secret}!"), "me@host"), "got: !"),
    "httpx": (_from_httpx, "InvalidURL Invalid port: 'x'"),
    "sqlite": (_from_sqlite, "no such table: "),
}


@pytest.mark.parametrize("entry", ENTRIES)
@given(data=st.data())
def test_a_secret_in_what_others_say_is_hidden_where_it_enters(entry, data) -> None:
    """Whatever it is, the same is shown: the sentence of ours stays whole, also around a word of ours."""
    said, words = ENTRIES[entry]
    secrets = st.sampled_from(our_words()) | st.from_regex(r"[A-Za-z][A-Za-z0-9+_-]{5,20}", fullmatch=True)
    secret = data.draw(secrets.filter(lambda text: text not in words and text not in CODES))
    keep_secret(())
    assert str(said(STRANGE)).count(STRANGE) >= 1
    expected = str(said(STRANGE)).replace(STRANGE, HIDDEN)
    assert knowing(secret).said_by(said(secret)) == expected


def test_a_log_line_hides_what_others_say_and_nothing_else(capsys) -> None:
    """Ours, with an exception of ours and one of others as arguments, and a line of a library."""
    set_up_logging(debug=True, redaction=knowing("relay"))
    ours = logging.getLogger("lemmy_safety.relay.server.engine")
    ours.warning("the relay: %s", StorageError("The relay is away.", hint=""))
    ours.warning("the relay: %s", ValueError("bad relay"))
    ours.warning("the %(relay)s", {"relay": "relay"})
    logging.getLogger("vendor.relay").warning("with key %s", "relay")
    said = [line.partition(": ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == ["the relay: The relay is away.", f"the relay: bad {HIDDEN}", "the relay", f"with key {HIDDEN}"]


def test_a_traceback_hides_what_others_say_and_no_line_of_code(capsys) -> None:
    """Causes, notes and groups as well; lines of code are public."""
    error = StorageError("The relay is away.")
    cause = ValueError("bad relay")
    cause.add_note("the note: relay")
    error.__cause__ = ExceptionGroup("several", [cause, OSError("no relay")])
    present(error, debug=True, redaction=knowing("relay"))
    shown = capsys.readouterr().err
    assert f"ValueError: bad {HIDDEN}\n" in shown
    assert f"the note: {HIDDEN}\n" in shown
    assert f"OSError: no {HIDDEN}\n" in shown
    assert "StorageError: The relay is away." in shown
    assert "error: The relay is away." in shown
    try:
        raise_relay()
    except ValueError as caught:
        present(caught, debug=True, redaction=knowing("relay"))
    shown = capsys.readouterr().err
    assert "in raise_relay\n" in shown
    assert f"ValueError: {HIDDEN}\n" in shown


def raise_relay() -> None:
    raise ValueError("relay")


@pytest.mark.long
@given(secret=st.from_regex(r"q[A-Za-z0-9'\"\\ @:/%]{8,20}q", fullmatch=True))
def test_a_secret_is_hidden_as_libraries_write_it_too(secret) -> None:
    """As it is, in a Python literal, and in a URL."""
    redaction = knowing(secret)
    for written in (secret, repr(secret), f"http://host/{quote(secret)}", str(httpx.QueryParams({"key": secret}))):
        shown = redaction(f"Refused: {written}!")
        assert HIDDEN in shown
        assert secret[1:-1] not in shown
