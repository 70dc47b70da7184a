"""``lemmy-safety demo``: the main task on a small sample store. It needs no setup and touches none of your data.

It runs the same code as a real sweep, and checks at each step that its output is true.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from lemmy_safety.cli.commands.delete_flagged import carry_out, open_rows
from lemmy_safety.cli.commands.run import sweep
from lemmy_safety.cli.input.invocation import current, settings_options
from lemmy_safety.cli.output.failures import BUG
from lemmy_safety.cli.output.logs import forbid_core_dumps, set_up_logging
from lemmy_safety.cli.output.next_steps import FIRST_EVENING, show_next
from lemmy_safety.cli.output.rows import show_rows
from lemmy_safety.cli.output.summary import show_summary
from lemmy_safety.cli.output.text import plural, printable
from lemmy_safety.cli.process.starting import INTERRUPTED
from lemmy_safety.cli.process.stopping import StopSignals
from lemmy_safety.errors import ActionRefused
from lemmy_safety.settings import OPTIONS, Settings
from lemmy_safety.settings.detecting import SECTION as DETECTORS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.cli.demo.store import SampleStore
    from lemmy_safety.cli.input.invocation import Invocation
    from lemmy_safety.scan.progress import PassSummary

_LAST_WORDS = """
"lemmy-safety doctor" downloads CLIP's weights once (1.7 GB); --quick skips that. After 20 deletions the program waits until
you have decided about the flags. "Flagged" means possible, not proven: read docs/privacy-and-law.md before you delete."""

#: Independent of the environment and the table's defaults: see ``demo_settings``.
_DETECTORS_HELP = (
    "Which detectors look at each picture, separated by commas; the environment does not count here."
    "  [default: hashes, and nudenet where it is installed]"
)


@click.command(short_help="Show the main job on a sample store.")
@settings_options("detectors", "device", "threads", help_instead={"detectors": _DETECTORS_HELP})
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Build the sample store in this empty folder and keep it; without it a temporary folder is used and removed.",
)
@click.pass_context
def demo(ctx: click.Context, folder: Path | None) -> None:
    """Show the main job on a sample store: sweep in a dry run, list, delete, sweep again.

    Needs no settings, and reads only those of the detectors. The pictures are harmless and drawn on the spot, the
    canary among them. Detectors: hashes, and nudenet where it is installed; no weights are fetched unless you ask for
    clip with --detectors.
    """
    invocation = current()
    forbid_core_dumps()
    with StopSignals() as signals, _place(folder) as place:
        settings = demo_settings(invocation, place)
        set_up_logging(debug=settings.debug, redaction=invocation.redaction, quiet=True)
        Demo(ctx, settings, signals, place).run()
        if folder is not None:
            click.echo(f"\nThe sample store is in {place / 'files'}, its database in {place / 'lemmy_safety.db'}.")
    click.echo("\nEverything worked. With your own store:")
    show_next(FIRST_EVENING)
    click.echo(_LAST_WORDS)


def demo_settings(invocation: Invocation, place: Path) -> Settings:
    """Detector settings as usual; all others are the demo's own, whatever the environment says.

    The choice of detectors comes only from the flag, so that a filled-in ``.env`` does not cause a download of
    gigabytes.
    """
    given = invocation.settings()
    kept = {item.name: getattr(given, item.name) for item in OPTIONS.values() if item.section == DETECTORS}
    if "detectors" not in invocation.flags:
        kept["detectors"] = ("hashes", "nudenet") if _nudenet_is_installed() else ("hashes",)
    return Settings(
        **kept,
        debug=given.debug,
        threads=given.threads,
        all=True,
        storage="local",
        files_directory=str(place / "files"),
        sqlite_filename=place / "lemmy_safety.db",
        cache_dir=given.cache_dir,
    )


def _nudenet_is_installed() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("nudenet", "onnxruntime"))


@contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="lemmy-safety-demo-") as name:
            yield Path(name)
        return
    if folder.exists() and any(folder.iterdir()):
        raise ActionRefused(f"{folder} is not empty.", hint="Name a new or empty folder; nothing is ever overwritten.")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


class Demo:
    """The steps, each announced before and checked after."""

    def __init__(self, ctx: click.Context, settings: Settings, signals: StopSignals, place: Path) -> None:
        self._ctx = ctx
        self._settings = settings
        self._signals = signals
        self._place = place

    def run(self) -> None:
        store = self._build()
        self._dry_run(store)
        self._list(store)
        self._delete(store)
        self._sweep_again(store)

    def _build(self) -> SampleStore:
        from lemmy_safety.cli.demo.store import build_store  # noqa: PLC0415 - Pillow is heavy

        _heading("A sample store")
        store = build_store(self._place / "files")
        click.echo(
            f"{plural(len(store.pictures), 'harmless picture')} under old and new pict-rs keys, a damaged file, and the "
            "canary three times:\nas it was uploaded, re-encoded, and as a thumbnail."
        )
        click.echo(f"Detectors: {', '.join(self._settings.detectors)}.")
        return store

    def _dry_run(self, store: SampleStore) -> None:
        _heading("1. Sweep in a dry run", "lemmy-safety --all --dry-run")
        summary = self._sweep(dry_run=True)
        self._check(summary.seen == len(store.keys), f"all {len(store.keys)} objects are seen, not {summary.seen}")
        expected = len(store.keys) - 1
        self._check(summary.checked == expected, f"{expected} objects are checked, not {summary.checked}")
        self._check(sum(summary.unreadable.values()) == 1, f"one is unreadable, not {dict(summary.unreadable)}")
        self._check_present(store.keys, "a dry run leaves every object where it is")

    def _list(self, store: SampleStore) -> None:
        from lemmy_safety import wiring  # noqa: PLC0415 - heavy

        _heading("2. What is flagged", "lemmy-safety flagged")
        with wiring.open_ledger(self._settings) as ledger:
            rows = list(ledger.reviews.flagged())
        show_rows(rows)
        self._check({row.key for row in rows} == store.canaries, "exactly the three canaries are flagged")

    def _delete(self, store: SampleStore) -> None:
        from lemmy_safety import wiring  # noqa: PLC0415 - heavy

        _heading("3. Delete what is flagged", "lemmy-safety delete-flagged --yes")
        with wiring.open_runner(self._settings) as runner:
            rows = open_rows(runner.ledger, runner.storage.name, None)
            outcome = carry_out(runner, rows, stop=self._signals.event, quiet=False)
        if outcome.stopped:
            self._ctx.exit(INTERRUPTED)
        self._check(outcome.left == 0, "every deletion succeeds")
        self._check_present(store.keys - store.canaries, "the canaries are gone and all else is there")

    def _sweep_again(self, store: SampleStore) -> None:
        _heading("4. Sweep again", "lemmy-safety --all")
        summary = self._sweep(dry_run=False)
        left = store.keys - store.canaries
        self._check(summary.checked == 0 and summary.bytes_read == 0, "nothing is read or checked twice")
        self._check(summary.skipped == len(left), f"{len(left)} known objects are skipped, not {summary.skipped}")
        self._check_present(left, "nothing more is deleted")

    def _sweep(self, *, dry_run: bool) -> PassSummary:
        summary = sweep(dataclasses.replace(self._settings, dry_run=dry_run), self._signals)
        if summary.stopped:
            click.echo("Stopped.", err=True)
            self._ctx.exit(INTERRUPTED)
        show_summary(summary)
        return summary

    def _check_present(self, expected: frozenset[str], promise: str) -> None:
        from lemmy_safety.cli.demo.store import present_keys  # noqa: PLC0415 - Pillow is heavy

        found = present_keys(self._place / "files")
        odd = ", ".join(sorted(printable(key) for key in found ^ expected))
        self._check(found == expected, f"{promise} (not so: {odd})" if odd else promise)

    def _check(self, holds: bool, promise: str) -> None:
        if not holds:
            self._fail(promise)

    def _fail(self, promise: str) -> NoReturn:
        click.echo(f"\n{click.style('The demo went wrong:', fg='red', bold=True)} expected that {promise}.", err=True)
        self._ctx.exit(BUG)


def _heading(title: str, command: str = "") -> None:
    click.echo()
    click.echo(click.style(title, bold=True) + (f"   $ {command}" if command else ""))
