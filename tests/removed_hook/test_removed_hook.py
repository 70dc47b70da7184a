"""What REMOVED_HOOK does for each removed name: real requests to a server of this process, and real programs."""

from __future__ import annotations

import os
import stat
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from support.needs import needs

from lemmy_safety import removed_hook as module
from lemmy_safety.errors import SettingsError
from lemmy_safety.removed_hook import removed_hook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ODD = "a b;$(touch x)'\"%2F/../ü&?#.png"


def never() -> bool:
    return False


@pytest.fixture
@needs("process")  # the hook starts what it is given
def program(tmp_path: Path):
    """Writes a shell script, which a test calls as REMOVED_HOOK."""
    if os.name != "posix":
        pytest.skip("the programs of these tests are shell scripts")

    def write(text: str) -> str:
        file = tmp_path / "hook"
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return str(file)

    return write


ENVIRONMENT = {"PATH": os.environ["PATH"]}


def test_a_program_gets_the_name_as_one_argument_whatever_is_in_it(program, tmp_path) -> None:
    got = tmp_path / "got"
    file = program(f'printf "%s|" "$@" > {got}')
    hook = removed_hook(f"{file} --one 'two three' https://x/{{alias}} {{alias}}", ENVIRONMENT)
    assert hook.tell(ODD, never) is None
    assert got.read_text() == f"--one|two three|https://x/{ODD}|{ODD}|"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["got", "hook"]


def test_a_program_gets_only_the_variables_that_it_is_given(program, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PICTRS_API_KEY", "secret-of-the-admin")
    file = program(f"env > {tmp_path / 'got'}")
    assert removed_hook(f"{file} {{alias}}", ENVIRONMENT).tell("a.png", never) is None
    assert "secret-of-the-admin" not in (tmp_path / "got").read_text()


def test_output_of_a_program_is_shown_only_if_it_fails(program, capfd) -> None:
    assert removed_hook(f"{program('echo all is well')} {{alias}}", ENVIRONMENT).tell("a.png", never) is None
    failing = removed_hook(f"{program('echo no such zone; echo more; exit 3')} {{alias}}", ENVIRONMENT)
    assert failing.tell("a.png", never) == "the program ended with 3: no such zone"
    assert capfd.readouterr() == ("", "")


def test_a_program_that_says_very_much_does_not_hang(program) -> None:
    hook = removed_hook(f"{program('yes | head -c 3000000; exit 1')} {{alias}}", ENVIRONMENT)
    assert hook.tell("a.png", never) == "the program ended with 1: y"


def test_a_name_that_could_be_an_option_is_not_given_to_a_program(program, tmp_path) -> None:
    file = program(f"touch {tmp_path / 'ran'}")
    assert removed_hook(f"{file} {{alias}}", ENVIRONMENT).tell("--delete", never) is not None
    assert not (tmp_path / "ran").exists()
    assert removed_hook(f"{file} name={{alias}}", ENVIRONMENT).tell("--delete", never) is None


@pytest.mark.parametrize("why", ["time-out", "stop"])
def test_a_program_that_takes_too_long_is_ended_with_all_that_it_started(program, tmp_path, monkeypatch, why) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.5 if why == "time-out" else 100.0)
    still_there = tmp_path / "still there"
    hook = removed_hook(
        f"{program(f'(sleep 3; touch {still_there!s}) & wait'.replace(str(still_there), repr(str(still_there))))} {{alias}}",
        ENVIRONMENT,
    )
    began = time.monotonic()
    stopping = never if why == "time-out" else lambda: time.monotonic() > began + 0.5
    said = hook.tell("a.png", stopping)
    assert said == ("the program took longer than 0 s" if why == "time-out" else "the run was stopped")
    assert time.monotonic() - began < 2.5
    threading.Event().wait(max(0.0, began + 3.5 - time.monotonic()))
    assert not still_there.exists()


class Cache(BaseHTTPRequestHandler):
    """Notes requests; answers as the test says, or not at all."""

    def do_PURGE(self) -> None:
        server = self.server
        server.asked.append((self.command, self.path))
        if server.status is None:
            server.ended.wait(30)
            return
        self.send_response(server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET = do_PURGE  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cache() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Cache) as server:
        server.asked, server.status, server.ended = [], 200, threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.ended.set()
        server.shutdown()
        thread.join()


def url(cache: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{cache.server_port}/pictrs/image/{{alias}}"


@pytest.mark.parametrize(("before", "method"), [("", "PURGE"), ("POST ", "POST"), ("get ", "GET")])
def test_a_url_is_requested_with_the_name_encoded(cache, before, method) -> None:
    hook = removed_hook(f"{before}{url(cache)}*?of={{alias}}", {})
    assert hook.tell(ODD, never) is None
    hook.close()
    encoded = "a%20b%3B%24%28touch%20x%29%27%22%252F%2F..%2F%C3%BC%26%3F%23.png"
    assert cache.asked == [(method, f"/pictrs/image/{encoded}*?of={encoded}")]


@pytest.mark.parametrize(
    ("status", "said"),
    [(204, None), (404, None), (412, None), (403, "the answer is 403"), (301, "the answer is 301")],
)
def test_what_a_cache_does_not_have_counts_as_told_and_a_refusal_does_not(cache, status, said) -> None:
    cache.status = status
    hook = removed_hook(url(cache), {})
    assert hook.tell("a.png", never) == said
    hook.close()


def test_a_cache_that_is_down_is_named_as_such() -> None:
    hook = removed_hook("http://127.0.0.1:1/{alias}", {})
    assert hook.tell("a.png", never) == "it refused the connection, or nothing listens there"
    hook.close()


@pytest.mark.parametrize("why", ["time-out", "stop"])
def test_a_cache_that_does_not_answer_is_not_waited_for(cache, monkeypatch, why) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.5 if why == "time-out" else 100.0)
    cache.status = None
    hook = removed_hook(url(cache), {})
    began = time.monotonic()
    said = hook.tell("a.png", never if why == "time-out" else lambda: time.monotonic() > began + 0.5)
    hook.close()
    assert said == ("it took too long for its answer" if why == "time-out" else "the run was stopped")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://lemmy.example/pictrs/image/", "does not say where the name"),
        ("/bin/true", "does not say where the name"),
        ("ftp://lemmy.example/{alias}", "not a URL that can be requested"),
        ("https://{alias}/", "not a URL with"),
        ("https:///{alias}", "not a URL with"),
        ("https://lemmy.example/#{alias}", "not a URL with"),
        ("https://lemmy.example:99999/{alias}", "not a URL with"),
        ("sh 'x {alias}", "cannot be split"),
        ("{alias} x", "not with a program"),
        ("/no/such/program {alias}", "'/no/such/program', which is not there"),
    ],
)
def test_a_hook_that_cannot_work_is_refused_at_once(text, said) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        removed_hook(text, ENVIRONMENT)
    assert refused.value.hint
