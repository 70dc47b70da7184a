"""What is counted and shown under ``/metrics``. No key, hash, address or secret is ever a label.

One ``Meters`` is one registry, so that several services (and tests) in one process do not share counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

from lemmy_safety.records import Outcome
from lemmy_safety.uploads.records import AnswerKind, Cause, Garbled, ModelState

if TYPE_CHECKING:
    from lemmy_safety.uploads.records import Decision

CONTENT_TYPE = CONTENT_TYPE_LATEST

_PREFIX = "lemmy_safety_hook_"

#: From an already known verdict to the time that Lemmy waits for a thumbnail (10 s) and pict-rs for us (30 s).
_LATENCIES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 6, 8, 10, 15, 30)

_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


class Meters:
    """All counters, gauges and histograms of one service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._answers = self._counter("answers", "Uploads answered, by what was answered.", "answer")
        self._unchecked = self._counter("unchecked", "Uploads answered without a verdict, by cause.", "cause")
        self._rejected = self._counter(
            "rejected", "Requests that were not an upload to decide on, by HTTP status.", "status"
        )
        self._garbled = self._counter("garbled", "Requests that pict-rs cannot have made so, by what is wrong.", "what")
        self._late = self._counter(
            "late_verdicts", "What was learned after the answer: an outcome, or a status.", "outcome"
        )
        self._reused = self._counter("reused_verdicts", "Uploads whose bytes had been judged before.")
        self._joined = self._counter("joined", "Uploads of bytes that were being judged at that moment.")
        self._dropped = self._counter(
            "dropped_late", "Late uploads that made room for others and were not judged here."
        )
        self._record_failures = self._counter("record_failures", "Writes to the database that failed.")
        self._unrecorded = self._counter("unrecorded", "Answers whose record was lost after all tries.")
        self._latency = Histogram(
            _PREFIX + "latency_seconds",
            "From the request's head to the answer.",
            ["answer"],
            buckets=_LATENCIES_S,
            registry=self._registry,
        )
        self._batches = Histogram(
            _PREFIX + "batch_size", "Media judged together.", buckets=_BATCHES, registry=self._registry
        )
        self._queue = self._gauge("queue_length", "Uploads being decided on.")
        self._held = self._gauge("held_bytes", "Bytes of uploads in memory.")
        self._open = self._gauge("uploads_open", "Requests with uploads being received or decided on.")
        self._unchecked_open = self._gauge(
            "unchecked_open", "Uploads accepted unchecked that have no verdict yet; -1 when the database does not say."
        )
        self._breaker = self._gauge(
            "breaker_tripped",
            "1 while the circuit breaker keeps passes from deleting; -1 when the database does not say.",
        )
        self._model = Gauge(
            _PREFIX + "model", "1 for the state that the models are in.", ["state"], registry=self._registry
        )
        # No alert can be set on a counter that is missing until it first counts.
        for kind in AnswerKind:
            self._answers.labels(kind)
            self._latency.labels(kind)
        for cause in Cause:
            self._unchecked.labels(cause)
        for what in Garbled:
            self._garbled.labels(what)
        for outcome in Outcome:
            self._late.labels(outcome)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(_PREFIX + name, text, registry=self._registry)

    def answered(self, decision: Decision, seconds: float) -> None:
        self._answers.labels(decision.kind).inc()
        self._latency.labels(decision.kind).observe(seconds)
        if decision.cause is not None:
            self._unchecked.labels(decision.cause).inc()

    def rejected(self, status: int) -> None:
        self._rejected.labels(str(status)).inc()

    def garbled(self, what: Garbled) -> None:
        self._garbled.labels(what).inc()

    def late_verdict(self, outcome: str) -> None:
        self._late.labels(outcome).inc()

    def reused(self) -> None:
        self._reused.inc()

    def joined(self) -> None:
        self._joined.inc()

    def dropped_late(self) -> None:
        self._dropped.inc()

    def record_failed(self) -> None:
        self._record_failures.inc()

    def unrecorded(self, count: int) -> None:
        self._unrecorded.inc(count)

    def batch(self, size: int) -> None:
        self._batches.observe(size)

    def queue(self, length: int) -> None:
        self._queue.set(length)

    def held(self, size: int) -> None:
        self._held.set(size)

    def uploads_open(self, count: int) -> None:
        self._open.set(count)

    def unchecked_open(self, count: int | None) -> None:
        self._unchecked_open.set(-1 if count is None else count)

    def breaker_tripped(self, tripped: bool | None) -> None:
        self._breaker.set(-1 if tripped is None else int(tripped))

    def model(self, state: ModelState) -> None:
        for known in get_args(ModelState):
            self._model.labels(known).set(known == state)

    def exposition(self) -> bytes:
        """All of it in the text format of ``CONTENT_TYPE``."""
        return generate_latest(self._registry)
