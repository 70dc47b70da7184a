"""Lists of objects for a person, as a table, and for a spreadsheet, as CSV."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from lemmy_safety.cli.text import printable, write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Width of the table where nobody looks at it through a terminal: wide enough for a pict-rs key on one line.
_PIPE_WIDTH = 160


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of cells; the first column is kept whole, the others are folded over lines rather than cut."""
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
        # Text, not str: a key or note may hold what rich would take for its markup.
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def write_csv(header: Sequence[str], rows: Iterable[Sequence[str | None]]) -> None:
    """Print CSV on stdout, None as an empty cell. Bytes of file names that are no text stay as they were."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([cell or "" for cell in row] for row in rows)
    write_bytes(text.getvalue())
