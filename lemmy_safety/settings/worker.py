"""Options: the server of uploads that a worker at home polls."""

from __future__ import annotations

from dataclasses import dataclass

from lemmy_safety.settings.option import option

SECTION = "Worker (lemmy-safety worker)"


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """The server of uploads that a worker at home polls."""

    pictrs_safety_url: str | None = option(
        None,
        "URL of the relay, or of a pictrs-safety server, whose uploads are judged.",
        kind=str,
        section=SECTION,
        env=("PICTRS_SAFETY_URL",),
        example="https://lemmy.example.com:14051",
    )
    pictrs_safety_apikey: str | None = option(
        None,
        "Key of that server.",
        kind=str,
        section=SECTION,
        env=("PICTRS_SAFETY_APIKEY",),
        secret=True,
        example="apikey",
    )
