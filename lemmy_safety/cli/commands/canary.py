"""``lemmy-safety canary``: the harmless test picture that every installation flags."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lemmy_safety.cli.output.text import printable
from lemmy_safety.errors import ActionRefused, SettingsError
from lemmy_safety.foreign import foreign


@click.command(short_help="Write the harmless test picture.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Write here; - is stdout, as is leaving this out where stdout is not a terminal.",
)
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
def canary(output: str | None, *, force: bool) -> None:
    """Write the harmless test picture that every installation flags.

    Upload it to your own instance and watch the whole chain work, as with the EICAR file of virus scanners.
    """
    # As text: a Path turns "./-", the way to name a file "-", into "-".
    file = None if output in {None, "-"} else Path(str(output))
    if file is None and sys.stdout.isatty():
        raise click.UsageError("Say where to write the picture: lemmy-safety canary -o canary.png")
    from lemmy_safety.detectors.hashes.canary import canary_png  # noqa: PLC0415 - Pillow is heavy

    picture = canary_png()
    if file is None:
        sys.stdout.buffer.write(picture)
        sys.stdout.buffer.flush()
        return
    try:
        # Writing to a device or a pipe overwrites nothing.
        is_new = not force and (file.is_file() or not file.exists())
        with file.open("xb" if is_new else "wb") as written:
            written.write(picture)
    except FileExistsError as error:
        raise ActionRefused(f"{file} exists.", hint="Overwrite it with --force.") from error
    except (OSError, ValueError) as error:  # the latter: NUL in the name
        reason = foreign(getattr(error, "strerror", None) or error)
        raise SettingsError(f"{file} cannot be written: {reason}.", hint="Choose another file with -o.") from error
    click.echo(f"Wrote {printable(str(file))}. Upload it to your instance; the next pass must flag it.", err=True)
