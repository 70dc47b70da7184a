"""What all servers that tests start have in common: their program, their port, their account, and that they came up."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

#: Tries, a fiftieth of a second apart, until a server listens.
_START_TRIES = 1500


def program(name: str) -> str | None:
    """Where a server's program lies, if anywhere: Debian keeps them off the PATH of users."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def not_tested(what: str) -> NoReturn:
    """Skip the test loudly; fail it where the gate promised the server."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


#: Below the ports that Linux, macOS and Windows give to clients: one of those may be taken by any connection before the
#: server that it was found for is up.
_PORTS = range(12_000, 32_000)


def free_port() -> int:
    """A port that is free on every address of this machine."""
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))  # noqa: S104 - bound, and never listened on
            return port
    raise AssertionError(f"no port from {_PORTS.start} to {_PORTS.stop} is free")


def server_builds() -> Path:
    """Where servers that ``scripts/build_*.sh`` built lie, a folder ``NAME-VERSION`` each."""
    if named := os.environ.get("SERVER_BUILDS"):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "lemmy-safety"


def folder_with_xattrs(name: str) -> Path | None:
    """A new folder with a short path on a file system that keeps user attributes, where some servers store metadata."""
    if not hasattr(os, "setxattr"):
        return None
    for place in (tempfile.gettempdir(), os.environ.get("HOME", ""), str(Path.cwd())):
        if not place:
            continue
        folder = Path(tempfile.mkdtemp(prefix=name, dir=place))
        try:
            os.setxattr(folder, "user.try", b"1")
        except OSError:
            folder.rmdir()
            continue
        return folder
    return None


def account_for(folder: Path, user: str) -> dict[str, Any]:
    """How ``subprocess`` starts a server that refuses root: as ``user``, who then owns the folder; empty if we are not root."""
    if os.geteuid() != 0:
        return {}
    import pwd  # noqa: PLC0415 - Windows has none

    shutil.chown(folder, user=user)
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def wait_until_it_listens(port: int, server: subprocess.Popen[bytes], said: Callable[[], str]) -> None:
    """Wait until the server takes connections; where it ends before, the error holds what it ``said``."""
    pause = threading.Event()
    for _ in range(_START_TRIES):
        if server.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            pause.wait(0.02)
        else:
            return
    raise AssertionError(f"the server does not answer:\n{said()}")
