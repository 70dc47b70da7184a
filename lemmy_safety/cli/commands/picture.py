"""``lemmy-safety picture``: everything that pict-rs has of one picture, and what is on record about it. Only reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lemmy_safety.cli.input.asking import asker
from lemmy_safety.cli.input.database import existing_ledger
from lemmy_safety.cli.input.invocation import current, settings_options
from lemmy_safety.cli.input.keys import chosen_keys
from lemmy_safety.cli.output.text import iso, plural, printable, write_json
from lemmy_safety.errors import LedgerError, PictureUnknown
from lemmy_safety.records import ItemStatus, Outcome, Review

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lemmy_safety.ledger import KnownVerdict, OnRecord
    from lemmy_safety.pictrs.pictures.records import Found, Picture
    from lemmy_safety.settings import Settings

_NOT_JUDGED = "not judged"

_OTHER_WAYS = (
    "Give an alias or the address of the picture instead. Or, if pict-rs uses PostgreSQL, set PICTRS_DATABASE_URL: it "
    "knows all keys."
)


@click.command(short_help="Show all that pict-rs has of one picture.")
@settings_options()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.argument("name")
def picture(name: str, *, as_json: bool) -> None:
    """Show aliases, keys, other sizes and the verdict of the picture that NAME belongs to.

    NAME is a KEY in the storage, an alias of pict-rs, or the address of a picture in a browser. PICTRS_URL and
    PICTRS_API_KEY must be set, or PICTRS_DATABASE_URL, which alone tells other sizes. Nothing is changed.
    """
    settings = current().settings()
    found = _find(settings, name)
    keys = [found.picture.original, *_others(found.picture).values()]
    on_record, known = _verdicts(settings, keys, found.picture.sha256)
    if as_json:
        write_json(_as_json(found, on_record, known))
    else:
        _show(found, on_record, known)


def _find(settings: Settings, name: str) -> Found:
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy
    from lemmy_safety.pictrs.aliases import NotAnAlias, alias_in  # noqa: PLC0415
    from lemmy_safety.pictrs.pictures.records import ORIGINAL, Found, Unresolved  # noqa: PLC0415

    if not name.strip():
        raise click.UsageError("NAME is empty. Is a variable in the command not set?")
    if "/" in name and "://" not in name:
        (key,) = chosen_keys([name])
        sha256 = _sha256_on_record(settings, key)
        with wiring.open_finder(settings, ask_passphrase=asker()) as finder:
            answer = finder.by_keys({key: sha256})[key]
        if isinstance(answer, Unresolved):
            raise PictureUnknown(
                f"It is not known which picture {printable(key)} belongs to: {answer.reason}.",
                hint=None if settings.pictrs_database_url else _OTHER_WAYS,
            )
        return answer
    try:
        alias = alias_in(name)
    except NotAnAlias as error:
        raise click.UsageError(f"{printable(name)} {error}.") from None
    with wiring.open_finder(settings, ask_passphrase=asker()) as finder:
        picture = finder.by_alias(alias)
    if picture is None:
        raise PictureUnknown(f"pict-rs has no picture {printable(alias)}.")
    return Found(picture=picture, part=ORIGINAL)


def _sha256_on_record(settings: Settings, key: str) -> str | None:
    try:
        with existing_ledger(settings) as ledger:
            row = ledger.objects.on_record([key]).get(key)
    except LedgerError:  # no database yet: pict-rs's own may know
        return None
    return None if row is None else row.assessment.sha256


def _verdicts(
    settings: Settings, keys: Sequence[str], sha256: str | None
) -> tuple[Mapping[str, OnRecord], KnownVerdict | None]:
    """What is recorded under each key, and the verdict on the original's bytes, from wherever they were judged."""
    try:
        with existing_ledger(settings) as ledger:
            on_record = ledger.objects.on_record(keys)
            if sha256 is None and keys[0] in on_record:
                sha256 = on_record[keys[0]].assessment.sha256
            return on_record, None if sha256 is None else ledger.objects.verdict_for(sha256)
    except LedgerError:
        return {}, None


def _others(picture: Picture) -> dict[str, str]:
    """The keys besides the original, by what they are."""
    motion = {} if picture.motion is None else {"motion": picture.motion}
    return {**motion, **(picture.variants or {})}


def _show(found: Found, on_record: Mapping[str, OnRecord], known: KnownVerdict | None) -> None:
    picture = found.picture
    if found.part != "original":
        what = found.operation or "the still of a moving picture"
        click.echo(f"This object is not the original, but {printable(what)}.")
    facts = [picture.format, "" if picture.size is None else plural(picture.size, "byte")]
    click.echo(f"original  {printable(picture.original)}  ({', '.join(filter(None, facts)) or 'size not known'})")
    click.echo(f"sha256    {picture.sha256 or 'not known: pict-rs tells it from 0.5.20 on'}")
    click.echo(f"verdict   {_verdict_words(known)}")
    click.echo(f"aliases   {len(picture.aliases):,}")
    for alias in picture.aliases:
        origin = f"  (a copy of {printable(alias.origin_url)})" if alias.origin_url else ""
        click.echo(f"  {printable(alias.name)}{origin}")
    if picture.variants is None:
        click.echo("other sizes are not known: PICTRS_DATABASE_URL is not set")
        return
    others = _others(picture)
    click.echo(f"others    {len(others):,}")
    for what, key in others.items():
        row = on_record.get(key)
        click.echo(f"  {printable(what)}  {printable(key)}  {_outcome_words(row)}")


def _outcome_words(row: OnRecord | None) -> str:
    if row is not None and row.assessment.status is ItemStatus.VARIANT:
        return "follows the original"
    return _NOT_JUDGED if row is None or row.assessment.outcome is None else row.assessment.outcome.value


def _verdict_words(known: KnownVerdict | None) -> str:
    if known is None:
        return _NOT_JUDGED
    words = "flagged as possible" if known.verdict.outcome is Outcome.FLAGGED else known.verdict.outcome.value
    cleared = ", cleared by a reviewer" if known.review is Review.CLEARED else ""
    return f"{words}{cleared}"


def _as_json(found: Found, on_record: Mapping[str, OnRecord], known: KnownVerdict | None) -> dict[str, Any]:
    picture = found.picture
    return {
        "part": found.part,
        "operation": found.operation,
        "original": _key_json(picture.original, on_record),
        "motion": None if picture.motion is None else _key_json(picture.motion, on_record),
        "variants": None
        if picture.variants is None
        else {what: _key_json(key, on_record) for what, key in picture.variants.items()},
        "aliases": [{"alias": each.name, "origin_url": each.origin_url} for each in picture.aliases],
        "sha256": picture.sha256,
        "size": picture.size,
        "format": picture.format,
        "created_at": iso(picture.created_at),
        "outcome": None if known is None else known.verdict.outcome.value,
        "review": None if known is None else known.review.value,
    }


def _key_json(key: str, on_record: Mapping[str, OnRecord]) -> dict[str, Any]:
    row = on_record.get(key)
    outcome = None if row is None else row.assessment.outcome
    return {
        "key": key,
        "status": None if row is None else row.assessment.status.value,
        "outcome": None if outcome is None else outcome.value,
        "checked_at": None if row is None else iso(row.checked_at),
    }
