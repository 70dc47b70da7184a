"""Requests that pict-rs cannot have made so: counted, on record, and after 20 in a row the service is not ready."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.media.pictures import encode, gradient
from support.web.hook import running_hook
from support.web.pictrs_client import END, KEY, ask_with_form, chunks, exchange, form, form_head, get, head
from support.web.relay import running_relay
from support.web.service import until

from lemmy_safety.access.rules import Access
from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.errors import LedgerLocked
from lemmy_safety.fingerprints import sha256_of
from lemmy_safety.web.forms import begins_as_form

SECRET = "an-example-of-a-secret"
CANARY = canary_png()
HARMLESS = encode(gradient(), "png")

#: As a version of pict-rs might ask that is not known here, or as a proxy might leave it.
GARBLED = {
    "a form without its header": head() + chunks(form(HARMLESS)) + END,
    "a form in a form": form_head() + chunks(form(form(HARMLESS))) + END,
    "JSON": head(media_type="application/json") + chunks(b'{"url": "http://pict-rs/image/original/a.png"}') + END,
    "a web page": head(media_type="text/html") + chunks(b"<!DOCTYPE html><title>502 Bad Gateway</title>") + END,
    "base64": head() + chunks(b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB") + END,
    "nothing": head() + END,
    "compressed": head(content_encoding="gzip") + chunks(b"\x1f\x8b\x08" + bytes(30)) + END,
    "two parts": form_head() + chunks(form(b"1")[:-72] + b"\r\n" + form(HARMLESS)) + END,
    "no part": form_head() + END,
}


def ready(hook) -> tuple[int, str]:
    answer = get(hook.port, "/ready")
    return answer.status, json.loads(answer.body).get("requests", "understood")


def wait_for_record(hook, **expected):
    """The row of counts is written beside the answers."""

    def there() -> bool:
        row = hook.ledger.garbled.get()
        return row is not None and all(getattr(row, name) == value for name, value in expected.items())

    until(there, f"the record of {expected}")


@pytest.mark.parametrize("accept", [True, False])
@pytest.mark.parametrize("case", GARBLED)
def test_twenty_in_a_row_are_a_fault_of_the_connection(tmp_path, case, accept, caplog):
    """Nineteen are odd requests. With the twentieth /ready is 503; a file that can be judged ends it."""
    with running_hook(tmp_path, accept_unchecked=accept) as hook:
        for _ in range(19):
            answer = exchange(hook.port, GARBLED[case])
            assert answer.status in ({200, 400, 415} if accept else {406, 400, 415})
        assert ready(hook) == (200, "understood")
        assert "in a row were garbled" not in caplog.text
        exchange(hook.port, GARBLED[case])
        assert ready(hook) == (503, "garbled")
        assert "20 requests in a row were garbled" in caplog.text
        wait_for_record(hook, in_a_row=20, total=20)
        assert hook.ledger.garbled.get().too_many
        assert ask_with_form(hook.port, CANARY).status == 406
        assert ready(hook) == (200, "understood")
        wait_for_record(hook, in_a_row=0, total=20)


@pytest.mark.parametrize(
    "body",
    [
        form(CANARY),
        form(form(CANARY)),
        form(CANARY, more="Content-Type: image/png\r\nX-Other: 1\r\n"),
        form(CANARY, boundary="Q"),
        form(CANARY, boundary="a" * 70),
        b"--Q\r\nX-Other: 1\r\nCONTENT-DISPOSITION: form-data; name=x\r\n\r\n" + CANARY + b"\r\n--Q--\r\n",
        form(CANARY)[:2000],
    ],
)
@pytest.mark.parametrize("media_type", ["image/png", "application/octet-stream"])
def test_a_form_whose_header_was_dropped_is_not_let_in(tmp_path, body, media_type):
    """It is not the file's own bytes, so no one could find on a disk what would be on record as unchecked."""
    with running_hook(tmp_path, accept_unchecked=True) as hook:
        assert exchange(hook.port, head(media_type=media_type) + chunks(body) + END).status == 400
        assert hook.ledger.uploads.count_unchecked() == 0
        assert hook.metric('garbled_total{what="form"}') == 1
        assert hook.metric("held_bytes") == 0
        assert ask_with_form(hook.port, HARMLESS).status == 200


@settings(max_examples=examples(200), deadline=None)
@given(st.binary(max_size=200))
def test_no_file_that_is_stored_is_taken_for_a_form(rest):
    for start in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF", b"\0\0\0\x20ftyp"):
        assert not begins_as_form(start + rest + form(b""))


@pytest.mark.parametrize(
    "text", [b"--", b"--a\r\n", b"--a\r\n\r\ncontent-disposition: x", b"a\r\ncontent-disposition: x"]
)
def test_a_text_with_dashes_is_no_form(text):
    assert not begins_as_form(text)


def test_a_relay_notices_as_well(tmp_path):
    """It looks into no picture, and yet sees what cannot be one."""
    with running_relay(tmp_path, budget_s=0.1) as relay:
        for _ in range(20):
            exchange(relay.port, GARBLED["a form without its header"])
        assert ready(relay) == (503, "garbled")
        wait_for_record(relay, in_a_row=20)
        relay.ask(HARMLESS)
        assert ready(relay)[1] == "understood"


def test_some_garbled_requests_among_others_turn_nothing(tmp_path):
    """However many there are in all: each file that can be judged begins a new row, also one that is refused."""
    with running_hook(tmp_path) as hook:
        for _ in range(3):
            for _ in range(15):
                assert exchange(hook.port, GARBLED["no part"]).status == 400
            assert ready(hook) == (200, "understood")
            assert hook.ask(CANARY).status == 406
        wait_for_record(hook, in_a_row=0, total=45)
        assert hook.metric('garbled_total{what="form"}') == 45


def test_who_may_not_ask_is_not_counted(tmp_path):
    """A stranger without the secret cannot make the service look broken, whatever it sends and how often."""
    with running_hook(tmp_path, access=Access(secrets=[SECRET])) as hook:
        for _ in range(25):
            assert exchange(hook.port, head("/validate/wrong") + chunks(b"{}") + END).status == 401
            assert exchange(hook.port, form_head("/validate") + END).status == 401
        assert ready(hook) == (200, "understood")
        assert hook.ledger.garbled.get() is None
        assert exchange(hook.port, form_head(f"/validate/{SECRET}") + END).status == 400
        wait_for_record(hook, in_a_row=1, total=1)


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\nbut nothing more", b"GIF89a but nothing more", b"\xff\xd8\xff" * 50]
)
def test_broken_pictures_are_no_garbled_requests(tmp_path, data):
    """What an uploader can bring about (a picture that no one can read) says nothing of the connection."""
    with running_hook(tmp_path) as hook:
        for _ in range(25):
            hook.ask(data)
        assert ready(hook) == (200, "understood")
        assert hook.ledger.garbled.get() is None


def test_requests_cut_off_or_too_large_are_not_counted(tmp_path):
    """They say nothing of the form of a whole request."""
    with running_hook(tmp_path, body_timeout_s=0.2) as hook:
        assert exchange(hook.port, form_head()).status == 408
        assert hook.ask(HARMLESS + bytes(2_000_000)).status == 413
        assert hook.ledger.garbled.get() is None
        assert hook.metric('garbled_total{what="form"}') == 0


def test_a_row_of_an_earlier_run_ends_with_the_first_file_that_is_understood(tmp_path):
    """What doctor shows outlives a restart, and no longer than the fault."""
    with running_hook(tmp_path) as hook:
        for _ in range(20):
            exchange(hook.port, GARBLED["no part"])
        wait_for_record(hook, in_a_row=20, last_what="form")
    with running_hook(tmp_path) as hook:
        assert ready(hook) == (200, "understood")
        assert hook.ledger.garbled.get().too_many
        assert hook.ask(HARMLESS).status == 200
        wait_for_record(hook, in_a_row=0, total=20)


def test_a_database_that_cannot_be_written_delays_the_record_only(tmp_path, caplog):
    """Answers and /ready do not wait for it; what could not be written is written with the next."""

    class LockedCounts:
        """The real ledger, whose counts cannot be written for as long as it is locked."""

        locked = True

        def __init__(self, real) -> None:
            self.real = real
            self.garbled = self

        def __getattr__(self, name):
            return getattr(self.real, name)

        def count(self, what, **counts):
            if LockedCounts.locked:
                raise LedgerLocked("another process holds the database")
            self.real.garbled.count(what, **counts)

        def end_row(self):
            self.real.garbled.end_row()

    with running_hook(tmp_path, ledger_seen_as=LockedCounts) as hook:
        for _ in range(20):
            assert exchange(hook.port, GARBLED["no part"]).status == 400
        assert ready(hook) == (503, "garbled")
        assert "garbled requests cannot be counted: another process holds the database" in caplog.text
        LockedCounts.locked = False
        exchange(hook.port, GARBLED["nothing"])
        wait_for_record(hook, in_a_row=21, total=21, last_what="empty")


def test_log_names_single_requests_without_filling_the_disk(tmp_path, caplog):
    """The first is said with its Content-Type, shortened; those of the next seconds are only counted."""
    with running_hook(tmp_path) as hook, caplog.at_level(logging.WARNING):
        for _ in range(10):
            request = form_head("/validate", f"multipart/x; secret={'y' * 3000}")
            exchange(hook.port, request + chunks(b"--") + END)
        lines = [line for line in caplog.messages if "cannot have made so" in line]
        assert len(lines) == 1
        assert "multipart/x; secret=yyy" in lines[0]
        assert len(lines[0]) < 500


@pytest.mark.parametrize("answered", [True, False])
def test_storage_key_is_recorded_with_the_upload(tmp_path, answered, caplog):
    """From 0.6 on the record says where pict-rs has put the file; a request of 0.5 about the same bytes takes nothing away."""
    data = CANARY if answered else b"no picture"
    with running_hook(tmp_path) as hook, caplog.at_level(logging.INFO):
        ask_with_form(hook.port, data)
        row = hook.ledger.uploads.get(sha256_of(data))
        assert row is not None
        assert row.storage_key == KEY
        hook.ask(data)
        assert hook.ledger.uploads.get(sha256_of(data)).storage_key == KEY
        other = KEY.replace("a2", "a3")
        exchange(hook.port, form_head() + chunks(form(data, f'form-data; name="{other}"')) + END)
        row = hook.ledger.uploads.get(sha256_of(data))
        assert (row.storage_key, row.times) == (other, 3)
        assert f"({KEY}) {'refused' if answered else 'accepted unchecked'}" in caplog.text
        hook.ask(HARMLESS)
        assert hook.ledger.uploads.get(sha256_of(HARMLESS)).storage_key is None
