"""``lemmy-safety db``: the database's version, its upgrade, and what it holds."""

from __future__ import annotations

from pathlib import Path

import click

from lemmy_safety.cli.input.database import existing_ledger, shown_name, without_upgrade
from lemmy_safety.cli.input.invocation import current, settings_options
from lemmy_safety.cli.output.text import counted, printable, write_json


@click.group()
def db() -> None:
    """The database: upgrade, backup, version, statistics."""


@db.command()
@settings_options()
def upgrade() -> None:
    """Bring the database to this version's schema.

    A database of the earlier scripts is imported in place, and a missing one is created. Every start does this by
    itself; the command is for upgrades at a time you choose. A SQLite database is copied beside itself before; of a
    PostgreSQL database make a dump before, see 'lemmy-safety db backup'.
    """
    from lemmy_safety import wiring  # noqa: PLC0415 - SQLAlchemy is heavy

    settings = current().settings()
    with wiring.open_ledger(settings) as ledger:
        present, _ = ledger.maintenance.schema_version()
        copied_to = ledger.copied_to
    click.echo(f"{shown_name(settings)} is at schema {present}.")
    if copied_to is not None:
        click.echo(f"As it was before: {printable(str(copied_to))}")


@db.command()
@settings_options()
@click.option("--force", is_flag=True, help="Overwrite PATH if it exists.")
@click.argument("path", required=False, type=click.Path(path_type=Path))
def backup(path: Path | None, *, force: bool) -> None:
    """Copy the SQLite database to PATH, also while a daemon writes to it.

    PATH is a file or a folder; without it the copy lies next to the database, with the time in its name. For PostgreSQL the
    command only says how to call pg_dump. A database that has lost tables is copied too, and then the command ends with 55.
    """
    with without_upgrade(current().settings()) as ledger:
        copy = ledger.maintenance.back_up(path, overwrite=force)
        click.echo(f"The backup is {printable(str(copy))} ({copy.stat().st_size / 1_000_000:,.1f} MB).")
        # Only now: the copy of a damaged database may be the only one left.
        ledger.maintenance.check_whole()


@db.command()
@settings_options()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def version(*, as_json: bool) -> None:
    """Show which schema the database has and which this version needs; changes nothing.

    Ends with 55 where tables or columns of its schema are missing.
    """
    settings = current().settings()
    with without_upgrade(settings) as ledger:
        present, needed = ledger.maintenance.schema_version()
        if as_json:
            write_json({"present": present or None, "needed": needed})
        else:
            click.echo(f"{shown_name(settings)} is at schema {present or 'none of ours'}; this version needs {needed}.")
        ledger.maintenance.check_whole()
        dump = ledger.maintenance.dump_command()
    if present != needed and not as_json:
        click.echo("The next start upgrades it, or now: lemmy-safety db upgrade")
        if dump is not None:
            click.echo(f"To be able to go back, make a dump before: {dump}")


@db.command()
@settings_options()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def stats(*, as_json: bool) -> None:
    """Count what the database holds."""
    with existing_ledger(current().settings()) as ledger:
        numbers = ledger.maintenance.stats()
    if as_json:
        write_json(
            {
                "objects": numbers.objects,
                "by_status": dict(numbers.by_status),
                "by_outcome": dict(numbers.by_outcome),
                "flagged_open": numbers.flagged_open,
                "acted": numbers.acted,
                "runs": numbers.runs,
                "bytes_on_disk": numbers.bytes_on_disk,
            }
        )
        return
    rows = [
        ("objects", f"{numbers.objects:,}"),
        ("by status", counted(numbers.by_status)),
        ("by verdict", counted(numbers.by_outcome)),
        ("flagged and open", f"{numbers.flagged_open:,}"),
        ("acted on", f"{numbers.acted:,}"),
        ("passes", f"{numbers.runs:,}"),
    ]
    if numbers.bytes_on_disk is not None:
        rows.append(("size", f"{numbers.bytes_on_disk / 1_000_000:,.1f} MB"))
    for label, text in rows:
        click.echo(f"  {label.ljust(16)}  {text}")
