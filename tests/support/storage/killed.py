"""A process that asks one thing of a storage and is killed in the middle; run by ``killed``, and as a program by itself.

For a folder the middle is counted in calls to the operating system that change something, else in bytes that were sent.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.storage.backends import StorageBackend

    from lemmy_safety.storage.base import Storage

NEVER = 2**60
_CHANGES = {"open", "os.link", "os.remove", "os.rename", "os.mkdir", "os.rmdir"}


def killed(backend: StorageBackend, call: list, *, after: int) -> int | None:
    """Have another process do ``call`` (method and arguments), and die after so many steps; its steps when it lived."""
    order = {"place": _place(backend), "call": call, "after": after}
    done = subprocess.run(
        [sys.executable, "-P", __file__], input=json.dumps(order), capture_output=True, text=True, check=False
    )
    if done.returncode:
        assert done.returncode in (-9, 137), done.stderr
        return None
    return int(done.stdout)


def _place(backend: StorageBackend) -> dict[str, object]:
    if backend.label == "local":
        return {"root": str(backend.root)}
    if backend.scheme == "s3":
        user, secret = backend.server.OWNER
        return {
            "endpoint": backend.server.endpoint, "bucket": backend.bucket, "access_key": user, "secret_key": secret,
        }  # fmt: skip
    return {
        "host": backend.server.host, "port": backend.server.port, "username": backend.username,
        "private_key": str(backend.key), "known_hosts": str(backend.server.known_hosts), "root": backend.seen_root,
    }  # fmt: skip


def _storage(place: dict[str, object]) -> Storage:
    if "endpoint" in place:
        from lemmy_safety.storage.s3 import S3Storage  # noqa: PLC0415

        return S3Storage(**place)
    if "host" in place:
        from lemmy_safety.storage.ssh import SshStorage  # noqa: PLC0415

        paths = {name: Path(place.pop(name)) for name in ("private_key", "known_hosts")}
        return SshStorage(
            place.pop("host"), place.pop("port"), place.pop("username"), passphrase=None, **paths, **place
        )
    from lemmy_safety.storage.local import LocalStorage  # noqa: PLC0415

    return LocalStorage(place["root"])


class _Countdown:
    def __init__(self, after: int) -> None:
        self.left = after
        self.after = after

    def die(self) -> None:
        if hasattr(signal, "SIGKILL"):
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(137)

    def watch_changes(self) -> None:
        def seen(event: str, _arguments: object) -> None:
            if event in _CHANGES:
                if self.left == 0:
                    self.die()
                self.left -= 1

        sys.addaudithook(seen)

    def watch_bytes(self) -> None:
        send, sendall = socket.socket.send, socket.socket.sendall

        def allowed(line: socket.socket, data: bytes) -> bytes:
            if len(data) > self.left:
                sendall(line, data[: self.left])
                self.die()
            self.left -= len(data)
            return data

        socket.socket.send = lambda line, data, *how: send(line, allowed(line, bytes(data)), *how)
        socket.socket.sendall = lambda line, data, *how: sendall(line, allowed(line, bytes(data)), *how)


def _main() -> None:
    order = json.load(sys.stdin)
    countdown = _Countdown(order["after"])
    method, *arguments = order["call"]
    if method == "write_new":
        arguments[1] = arguments[1].encode("latin-1")
    with _storage(dict(order["place"])) as storage:
        if "root" in order["place"] and "host" not in order["place"]:
            countdown.watch_changes()
        else:
            countdown.watch_bytes()
        getattr(storage, method)(*arguments)
        sys.stdout.write(str(countdown.after - countdown.left))
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
