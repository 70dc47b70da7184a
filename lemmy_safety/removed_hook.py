"""What the admin wants to happen for each removed name of a picture: a request to a cache, or a program. Knows no picture.

Browsers and caches in between keep pictures: pict-rs before 0.5.20 let them do so for 7 days. An alias is a stranger's
text, so it is percent-encoded in a URL, and stays within one argument of a program, which is never run by a shell.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import httpx

from lemmy_safety import __version__
from lemmy_safety.errors import SettingsError
from lemmy_safety.foreign import foreign
from lemmy_safety.outgoing import ServerTrouble, transport_by, trouble_by_way_of
from lemmy_safety.proxies import proxy_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ALIAS: Final = "{alias}"

#: Seconds for one request or one run.
TIMEOUT_S: Final = 30.0

#: How long a stop may go unnoticed.
_LISTEN_S: Final = 0.2

#: What nginx's ngx_cache_purge, Varnish and CDNs use for one URL.
_METHOD: Final = "PURGE"

_REQUEST: Final = re.compile(r"(?:(?P<method>[A-Z]{3,16}) {1,8})?(?P<url>https?://\S+)", re.IGNORECASE)

#: The cache does not have it: ngx_cache_purge says 404 or 412.
_NOT_CACHED: Final = frozenset({404, 410, 412})

_MOST_SHOWN: Final = 200

_EXAMPLES: Final = (
    "Such as https://lemmy.example/pictrs/image/{alias}, or /usr/local/bin/tell-cache {alias} (docs/operations.md, "
    'section "Caches").'
)


class RemovedHook(ABC):
    """Carries out what the setting says."""

    @abstractmethod
    def tell(self, alias: str, stopped: Callable[[], bool]) -> str | None:
        """Say that this name is gone: None if that worked, else the reason, as the end of a sentence.

        Ends early when ``stopped`` says so.
        """

    @abstractmethod
    def close(self) -> None:
        """Close connections."""


def removed_hook(text: str, environment: Mapping[str, str]) -> RemovedHook:
    """``text``: ``[METHOD] URL`` or a program with arguments. ``environment``: all variables that a program gets.

    :raises SettingsError: it is neither, or does not say where the alias goes.
    """
    if ALIAS not in text:
        raise SettingsError("REMOVED_HOOK does not say where the name of the picture goes: {alias}.", hint=_EXAMPLES)
    request = _REQUEST.fullmatch(text)
    if request is not None:
        return HookByRequest((request["method"] or _METHOD).upper(), request["url"])
    if "://" in text.split(" ", maxsplit=1)[0]:
        raise SettingsError("REMOVED_HOOK is not a URL that can be requested.", hint=_EXAMPLES)
    try:
        arguments = shlex.split(text)
    except ValueError as error:
        raise SettingsError(
            f"REMOVED_HOOK cannot be split into a program and its arguments: {foreign(error)}.", hint=_EXAMPLES
        ) from error
    if ALIAS in arguments[0]:
        raise SettingsError("REMOVED_HOOK begins with {alias}, not with a program.", hint=_EXAMPLES)
    program = shutil.which(os.path.expanduser(arguments[0]), path=environment.get("PATH"))  # noqa: PTH111 - may be a bare name
    if program is None:
        raise SettingsError(
            f"REMOVED_HOOK names the program {arguments[0]!r}, which is not there or cannot be executed.",
            hint=_EXAMPLES,
        )
    return HookByProgram((program, *arguments[1:]), environment)


class HookByRequest(RemovedHook):
    """Requests a URL for each name."""

    def __init__(self, method: str, url: str) -> None:
        """:raises SettingsError: the URL is not one, or a proxy or certificates cannot be used."""
        try:
            parts = urlsplit(url)
            valid = bool(parts.hostname) and ALIAS not in parts.netloc and parts.port != 0
        except ValueError:
            valid = False
        if not valid or ALIAS in url.partition("#")[2]:
            raise SettingsError("REMOVED_HOOK is not a URL with {alias} in its path or query.", hint=_EXAMPLES)
        self._method = method
        self._url = url
        self._proxy = proxy_for(url)
        self._runner = asyncio.Runner()
        self._http: httpx.AsyncClient | None = None
        logging.getLogger("httpx").setLevel(logging.WARNING)  # its lines have the whole URL

    def tell(self, alias: str, stopped: Callable[[], bool]) -> str | None:
        url = self._url.replace(ALIAS, quote(alias, safe=""))
        try:
            status = self._runner.run(self._request(url, stopped))
        except ServerTrouble as trouble:
            return str(trouble)
        if status is None:
            return "the run was stopped"
        return None if httpx.codes.is_success(status) or status in _NOT_CACHED else f"the answer is {status}"

    def close(self) -> None:
        if self._http is not None:
            self._runner.run(self._http.aclose())
        self._runner.close()

    async def _request(self, url: str, stopped: Callable[[], bool]) -> int | None:
        request = asyncio.create_task(self._exchange(url))
        try:
            while not (await asyncio.wait({request}, timeout=_LISTEN_S))[0]:
                if stopped():
                    return None
        finally:
            if not request.done():
                request.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await request
        return request.result()

    async def _exchange(self, url: str) -> int:
        if self._http is None:
            agent = {"User-Agent": f"lemmy-safety/{__version__}"}
            self._http = httpx.AsyncClient(headers=agent, timeout=None, transport=transport_by(self._proxy))  # noqa: S113 - below
        with trouble_by_way_of(self._proxy):
            async with asyncio.timeout(TIMEOUT_S), self._http.stream(self._method, url) as response:
                return response.status_code


class HookByProgram(RemovedHook):
    """Runs a program for each name. Its output is shown only if it fails."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command = tuple(command)
        self._environment = dict(environment)

    def tell(self, alias: str, stopped: Callable[[], bool]) -> str | None:
        if "\0" in alias or any(part.startswith(ALIAS) and alias.startswith("-") for part in self._command):
            return "the program could read the name as an option"
        command = [part.replace(ALIAS, alias) for part in self._command]
        try:
            process = subprocess.Popen(  # noqa: S603 - what the admin's settings say, without a shell
                command,
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=os.name == "posix",
            )
        except OSError as error:
            return f"the program cannot be started: {foreign(error.strerror or error)}"
        return self._outcome(process, stopped)

    def close(self) -> None:
        """Nothing is open between two runs."""

    def _outcome(self, process: subprocess.Popen[bytes], stopped: Callable[[], bool]) -> str | None:
        said = bytearray()
        reader = threading.Thread(target=_drain, args=(process, said), name="removed-hook", daemon=True)
        reader.start()
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                code = process.wait(_LISTEN_S)
                break
            except subprocess.TimeoutExpired:
                if stopped() or time.monotonic() > deadline:
                    _kill(process)
                    return "the run was stopped" if stopped() else f"the program took longer than {TIMEOUT_S:.0f} s"
        if code == 0:
            return None
        reader.join(_LISTEN_S)  # a child that it left behind may keep its output open
        first = next(iter(bytes(said).decode("utf-8", "replace").strip().splitlines()), "")
        shown = ascii(foreign(first))[1:-1]
        return f"the program ended with {code}{f': {shown}' if shown else ''}"


def _drain(process: subprocess.Popen[bytes], said: bytearray) -> None:
    """Read all output, keep its beginning, and close it when all that write to it have ended."""
    if process.stdout is not None:
        with process.stdout:
            while data := process.stdout.read(4096):
                said += data[: max(0, _MOST_SHOWN - len(said))]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the program with everything that it started."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
