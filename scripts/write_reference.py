"""Render ``env_example``, ``docs/options.md`` and ``docs/errors.md`` from the settings table and the error tree.

``make docs`` writes them; ``tests/project/test_docs.py`` compares what is committed with what would be written.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lemmy_safety import errors
from lemmy_safety.settings import ENV_FILE_NAME
from lemmy_safety.settings.template import default_text, env_example, sections

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent

OPTIONS_HEAD = f"""\
# Options

<!-- Made by `make docs` from lemmy_safety/settings/; edit there. -->

A setting is looked for in this order: the flag, the environment, the file `.env` in the working folder, the default.
`{ENV_FILE_NAME}` names another file than `.env`. Flags may be spelled with `-` or `_` (`--dry-run`, `--dry_run`).

Where several names are given, all of them work; the last one wins within one source. An unknown name that starts
with `LEMMY_SAFETY_` is refused, and so is a near miss of any name (`DETECTOR`, `lemmy_safety_dry_run`): the message names
the right one. So is a name in `.env` that lacks this prefix (`DRY_RUN`); in the environment only `DRY_RUN` and
`SKIP_UNREADABLE` are.
Secrets are never printed.

In `.env` a value is taken exactly as it is written, or the start is refused with the line's number and what is wrong.
A line of any program that is not `NAME=value` is refused, since it may hide a setting; so are a quote that is not closed
on its line, a second setting on one line, two lines that contradict each other, a backslash that quotes would change, a
comment behind a free text, and invisible characters. Names of other programs are left alone.

Docker hands over the file in its own way. `env_file` of compose expands `$x` and `${{x}}` and takes off quotes; with
`format: raw` (Compose 2.30, as in our `docker-compose.yml`), and with `docker run --env-file`, values arrive as they are
written, quotes included. So write no quotes: a free text that arrives in quotes is refused.
"""

ERRORS_HEAD = """\
# Exit codes

<!-- Made by `make docs` from lemmy_safety/errors.py; edit there. -->

Every failure is one line that says what is wrong and where, and how to fix it. `--debug` adds the traceback.
What concerns a single object (gone, denied, unreadable) is recorded for that object and ends no run.

| code | class | meaning |
|---|---|---|
"""

#: Codes that no exception of ours stands for.
OTHER_CODES = {
    0: (
        "",
        "Done: everything that was listed was checked, and flagged objects were handled. With `--exit-code-flagged N`, `--all` ends with N if it flagged any.",
    ),
    1: ("", "A bug in lemmy-safety; please report it with the traceback that `--debug` shows."),
    2: ("", "The command line was not understood."),
    130: ("", "Interrupted before the end (Ctrl-C, SIGTERM). What was done is recorded; the next run continues there."),
}


def render_options() -> str:
    lines = [OPTIONS_HEAD]
    for section, items in sections():
        lines += [f"## {section}", "", "| setting | flag | default | allowed | what it does |", "|---|---|---|---|---|"]
        for item in items:
            names = "<br>".join(f"`{name}`" for name in item.env)
            flag = f"`--{item.name.replace('_', '-')}`" if item.flag else ""
            short = f", `{item.short}`" if item.short else ""
            default = f"`{default_text(item)}`" if default_text(item) else ""
            secret = " Secret." if item.secret else ""
            lines.append(f"| {names} | {flag}{short} | {default} | {item.allowed} | {item.help}{secret} |")
        lines.append("")
    return "\n".join(lines)


def _error_classes(parent: type[errors.LemmySafetyError]) -> Iterator[type[errors.LemmySafetyError]]:
    for child in parent.__subclasses__():
        yield child
        yield from _error_classes(child)


def render_errors() -> str:
    rows = dict(OTHER_CODES)
    for error in _error_classes(errors.LemmySafetyError):
        meaning = " ".join((error.__doc__ or "").split("\n\n")[0].split())
        hint = vars(error).get("default_hint", "")
        rows[error.exit_code] = (f"`{error.__name__}`", f"{meaning} {hint}".strip())
    table = [f"| {code} | {name} | {meaning} |" for code, (name, meaning) in sorted(rows.items())]
    return ERRORS_HEAD + "\n".join(table) + "\n"


RENDERINGS = {
    "env_example": env_example,
    "docs/options.md": render_options,
    "docs/errors.md": render_errors,
}


def main() -> None:
    for name, render in RENDERINGS.items():
        (ROOT / name).write_text(render(), encoding="utf-8", newline="\n")
        print(name)


if __name__ == "__main__":
    main()
