"""``lemmy-safety env-example``: a template of the settings file ``.env``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from lemmy_safety.cli.output.text import printable
from lemmy_safety.errors import ActionRefused, SettingsError
from lemmy_safety.foreign import foreign
from lemmy_safety.settings import env_example


@click.command("env-example", short_help="Write a template of the settings file.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Write a new file that only you can read, such as .env; - is stdout, the default.",
)
def env_example_command(output: str | None) -> None:
    """Write a template of the settings file .env: every setting, with its meaning.

    All lines are commented out. Fill in one storage; the rest can stay as it is.
    """
    text = env_example()
    if output in {None, "-"}:
        click.echo(text, nl=False)
        return
    file = Path(str(output))
    try:
        # Keys and passwords come into it. It is never overwritten: it may have them already.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as written:
                written.write(text)
        except OSError:  # a full disk: a template that was cut is not left behind
            file.unlink()
            raise
    except FileExistsError as error:
        raise ActionRefused(f"{file} exists.", hint="Choose another file with -o, or move that one away.") from error
    except (OSError, ValueError) as error:  # the latter: NUL in the name
        reason = foreign(getattr(error, "strerror", None) or error)
        raise SettingsError(f"{file} cannot be written: {reason}.", hint="Choose another file with -o.") from error
    click.echo(f"Wrote {printable(str(file))}. Fill in one storage in it; then: lemmy-safety doctor", err=True)
