"""What a pass needs from an engine: objects in, results out. An engine does not know the listing or the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.policy import Policy
    from lemmy_safety.records import ItemResult, Ruleset, ScreenStatistics, StoredObject
    from lemmy_safety.scan.items import RecordChannel
    from lemmy_safety.scan.pipeline import Channel, Pipeline
    from lemmy_safety.scan.progress import Bottleneck, PassCounter

    #: A result for an object whose bytes have this SHA-256, if they were judged before and that is still valid; else
    #: None.
    Reuse = Callable[[StoredObject, str, Ruleset], ItemResult | None]


class Engine(Protocol):
    """Reads, decodes and judges. Lives as long as the process and serves one pass after another."""

    policy: Policy

    @property
    def detector_names(self) -> tuple[str, ...]:
        """Sorted."""

    @property
    def detector_versions(self) -> tuple[str, ...]:
        """``name version`` of each detector, sorted."""

    @property
    def decoder_version(self) -> str: ...

    @property
    def screen_statistics(self) -> ScreenStatistics | None:
        """Statistics of the fast screen so far, if any detector has one."""

    def release_idle_models(self, ttl_s: float) -> bool:
        """Between two passes: free each model that has been idle for ``ttl_s`` seconds. The next picture loads it
        again. Returns whether one was freed.
        """

    def begin(self, counter: PassCounter, reuse: Reuse) -> EnginePass:
        """Prepare one pass; nothing runs yet. ``reuse`` is called from several threads."""


class EnginePass(Protocol):
    """One pass. Results come in any order. Each object of the inbox yields exactly one, unless the pass is stopped."""

    #: The rules of its verdicts.
    ruleset: Ruleset

    @property
    def batch_size(self) -> int:
        """Results come in groups of about this many."""

    def start(self, pipeline: Pipeline, to_record: RecordChannel) -> Channel[StoredObject]:
        """Add the stages to the pipeline. The returned channel takes the objects. When it is closed and the last result
        is in ``to_record``, that is closed too.
        """

    def bottleneck(self) -> Bottleneck:
        """The stage that the others wait for at this moment; LISTING if none of the engine's is behind."""

    def abort(self) -> None:
        """After a stop: wake all stages that wait for memory. The pipeline aborts the channels."""
