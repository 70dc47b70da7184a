"""A service in a thread of a test: asked as pict-rs asks, its metrics, its records, its end."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.web.pictrs_client import Answer, ask, get

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.ledger import Ledger, UploadRow

PATIENCE_S = 30.0


def until(condition, what: str = "what was waited for") -> None:
    """Look again and again until it is so; what happens in another thread or process gives no other sign."""
    pause = threading.Event()
    for _ in range(3000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError(f"{what} did not happen")


@dataclass
class Service:
    """A service in a thread of its own, with its ledger. ``ended_with`` is what it ended with."""

    ledger: Ledger
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    ended_with: list[BaseException] = field(default_factory=list)
    port: int = 0

    def begin(self, name: str, target: Callable[[threading.Event], None]) -> threading.Event:
        """Have ``target`` run in a thread; the event that it is given is set when it has begun, or has ended with an error."""
        begun = threading.Event()

        def run() -> None:
            try:
                target(begun)
            except BaseException as error:  # noqa: BLE001 - for the test to look at
                self.ended_with.append(error)
                begun.set()

        self.thread = threading.Thread(target=run, name=name, daemon=True)
        self.thread.start()
        return begun

    def note(self, begun: threading.Event) -> Callable[[str, int], None]:
        """What ``serve`` is to call when it listens."""

        def listening(_host: str, port: int) -> None:
            self.port = port
            begun.set()

        return listening

    def end(self) -> None:
        """Stop it as SIGTERM does, and wait for its end."""
        self.stop.set()
        assert self.thread is not None
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive(), "it does not stop"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, data: bytes, path: str = "/validate", **how: str) -> Answer:
        return ask(self.port, data, path, **how)

    def ask_later(self, data: bytes, **how: str) -> Asked:
        return Asked(self, data, how)

    def recorded(self, data: bytes, *, verdict: bool = True) -> UploadRow:
        """What is on record of these bytes, as soon as it is: an answer with a verdict does not wait for the disk."""
        sha256 = hashlib.sha256(data).hexdigest()

        def there() -> bool:
            row = self.ledger.uploads.get(sha256)
            return row is not None and (
                not verdict or (row.assessment is not None and row.assessment.verdict is not None)
            )

        until(there, "the record")
        row = self.ledger.uploads.get(sha256)
        assert row is not None
        return row

    def metric(self, line: str, **headers: str) -> float:
        """The value of one line of /metrics, named with its labels; the prefix is left out."""
        text = get(self.port, "/metrics", **headers).body.decode()
        for shown in text.splitlines():
            name, _, value = shown.rpartition(" ")
            if name == f"lemmy_safety_hook_{line}":
                return float(value)
        raise AssertionError(f"no metric {line}")

    def wait_for_metric(self, line: str, value: float) -> None:
        """Ask until the metric has the value; it follows an event of the service that tests cannot wait for otherwise."""
        until(lambda: self.metric(line) == value, f"{line} {value}")


class Asked:
    """An upload that is asked about in a thread, as pict-rs waits for its answer."""

    def __init__(self, service: Service, data: bytes, how: dict[str, str]) -> None:
        self._got: list[Answer] = []
        self._thread = threading.Thread(target=lambda: self._got.append(service.ask(data, **how)), daemon=True)
        self._thread.start()

    def answer(self) -> Answer:
        self._thread.join(PATIENCE_S)
        assert self._got, "no answer"
        return self._got[0]
