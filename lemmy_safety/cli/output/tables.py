"""Lists of objects for a person, as a table, and for a spreadsheet, as CSV."""

from __future__ import annotations

import csv
import io
import unicodedata
from typing import TYPE_CHECKING, Any

import click

from lemmy_safety.cli.output.text import printable, without_controls, write_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

#: Width of the table without a terminal: wide enough for a pict-rs key on one line.
_PIPE_WIDTH = 160

#: Spreadsheets treat a cell that begins with one of these as a formula, in some languages also the full-width forms of
#: Asian scripts (OWASP, CSV injection).
_FORMULA_STARTS = frozenset("=+-@")


def form_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--json`` or ``--csv``, as its argument ``form``; None for a table."""
    for form in ("csv", "json"):
        option = click.option(
            f"--{form}", is_flag=True, expose_value=False, callback=_choose_form, help=f"As {form.upper()}."
        )
        command = option(command)
    return command


def _choose_form(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    chosen = ctx.params.setdefault("form", None)
    if value and chosen:
        raise click.UsageError("Choose one of --json and --csv.")
    if value:
        ctx.params["form"] = param.name


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of cells; the first column is kept whole, the others are wrapped rather than cut."""
    from rich.console import Console  # noqa: PLC0415 - rich costs a tenth of a second
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPE_WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    first, *others = headings
    table.add_column(first, no_wrap=True)
    for heading in others:
        table.add_column(heading, overflow="fold")
    for row in rows:
        # Text, not str: rich would interpret markup in a key or note.
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def as_text_cell(cell: str) -> str:
    """The cell, with an apostrophe in front if a spreadsheet would calculate it instead of showing it.

    Strangers choose keys. Spreadsheets calculate cells whose first character is ``=``, ``+``, ``-`` or ``@``, after any
    white space and control characters, and all that begin with a tab or a line break.
    """
    first = next((char for char in cell if not (char.isspace() or unicodedata.category(char) in {"Cc", "Cf"})), "")
    starts_a_formula = unicodedata.normalize("NFKC", first)[:1] in _FORMULA_STARTS
    return f"'{cell}" if starts_a_formula or cell[:1] in {"\t", "\r", "\n"} else cell


def csv_text(header: Sequence[str], rows: Iterable[Sequence[str | None]]) -> str:
    """Rows as CSV: None is an empty cell; no cell is a formula for a spreadsheet; no invisible characters.

    Control and format characters are written as in the table; ``--json`` has the exact text.
    Every cell is quoted, so that a ``;`` in a key does not start a new cell where spreadsheets separate by that.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(header)
    writer.writerows([as_text_cell(without_controls(cell or "")) for cell in row] for row in rows)
    return text.getvalue()


def write_csv(header: Sequence[str], rows: Iterable[Sequence[str | None]]) -> None:
    """Print ``csv_text`` on stdout. Bytes of file names that are not text stay unchanged."""
    write_bytes(csv_text(header, rows))
