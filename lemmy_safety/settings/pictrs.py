"""Options: the running pict-rs, and its database."""

from __future__ import annotations

from dataclasses import dataclass

from lemmy_safety.settings.option import option

SECTION = "pict-rs itself: pictures are removed through it"


@dataclass(frozen=True, kw_only=True)
class PictrsSettings:
    """How pict-rs itself is asked about its pictures."""

    pictrs_url: str | None = option(
        None,
        "URL of pict-rs itself. If set, pictures are removed through it, at every size; if not, only files are deleted.",
        kind=str,
        section=SECTION,
        env=("PICTRS_URL",),
        example="http://127.0.0.1:8080",
    )
    pictrs_api_key: str | None = option(
        None,
        "API key of pict-rs (its PICTRS__SERVER__API_KEY).",
        kind=str,
        section=SECTION,
        env=("PICTRS_API_KEY",),
        secret=True,
        example="key-of-pictrs",
    )
    pictrs_max_aliases: int = option(
        5,
        "A flagged picture with more aliases (uploads of the same bytes) waits for a person.",
        kind=int,
        section=SECTION,
        env=("PICTRS_MAX_ALIASES",),
        minimum=1,
        maximum=100_000,
    )
    pictrs_database_url: str | None = option(
        None,
        "URL of pict-rs's PostgreSQL database, if it has one. It is only read, to find a picture's other sizes.",
        kind=str,
        section=SECTION,
        env=("PICTRS_DATABASE_URL",),
        secret=True,
        example="postgresql://reader:password@host/pictrs",
    )
    removed_hook: str | None = option(
        None,
        "Tells a cache of each removed name: a URL to send PURGE to, or a program with arguments; {alias} is the name.",
        kind=str,
        section=SECTION,
        env=("REMOVED_HOOK",),
        secret=True,
        example="https://lemmy.example/pictrs/image/{alias}",
    )
    pictrs_via_ssh: bool = option(
        False,
        "Reach both through the SSH connection of the SSH_* settings; their hosts are then as the SSH server sees them.",
        kind=bool,
        section=SECTION,
        env=("PICTRS_VIA_SSH",),
    )
    skip_sizes: str = option(
        "exact",
        "With PICTRS_DATABASE_URL: sizes that pict-rs made of a picture that is judged clear are not read. 'exact': "
        "only those that cannot show anything else than it; 'all': thumbnails too (docs/operations.md).",
        kind=str,
        section=SECTION,
        choices=("exact", "all", "off"),
    )
