"""Options: the service that pict-rs asks about uploads, and the relay that can replace it."""

from __future__ import annotations

from dataclasses import dataclass

from lemmy_safety.settings.option import option

SECTION = "Upload hook and relay (lemmy-safety serve)"


@dataclass(frozen=True, kw_only=True)
class HookSettings:
    """The service that pict-rs asks about uploads."""

    hook_host: str = option(
        "127.0.0.1",
        "Addresses to listen on, separated by commas; those that other machines can reach need HOOK_SECRET or HOOK_NETWORKS.",
        kind=str,
        section=SECTION,
        env=("HOOK_HOST",),
    )
    hook_port: int = option(
        14051, "Port to listen on.", kind=int, section=SECTION, env=("HOOK_PORT",), minimum=1, maximum=65535
    )
    hook_secret: str | None = option(
        None,
        "Secret that callers give in the path or in a header; 16 characters or more.",
        kind=str,
        section=SECTION,
        env=("HOOK_SECRET",),
        secret=True,
        example="secret-in-the-url",
    )
    hook_networks: tuple[str, ...] = option(
        (),
        "Comma-separated addresses or networks that may call. Empty: anyone.",
        kind=tuple,
        section=SECTION,
        env=("HOOK_NETWORKS",),
        example="172.16.0.0/12",
    )
    hook_trusted_proxies: tuple[str, ...] = option(
        (),
        "Proxies whose X-Forwarded-For is believed, separated by commas.",
        kind=tuple,
        section=SECTION,
        env=("HOOK_TRUSTED_PROXIES",),
        example="127.0.0.1",
    )
    hook_on_failure: str = option(
        "accept",
        "What to answer if no verdict is ready in time. Accepted uploads are checked first in the next pass.",
        kind=str,
        section=SECTION,
        env=("HOOK_ON_FAILURE",),
        choices=("accept", "refuse"),
    )
    hook_budget_s: float = option(
        8.0,
        "Seconds for an answer; Lemmy waits 10 s for thumbnails.",
        kind=float,
        section=SECTION,
        env=("HOOK_BUDGET_S",),
        minimum=0.5,
        maximum=600,
    )
    hook_queue: int = option(
        64,
        "Uploads that are decided on at the same time, at most.",
        kind=int,
        section=SECTION,
        env=("HOOK_QUEUE",),
        minimum=1,
        maximum=100_000,
    )
    hook_max_uploads: int = option(
        128,
        "Uploads that are received and decided on at the same time; more are answered 503.",
        kind=int,
        section=SECTION,
        env=("HOOK_MAX_UPLOADS",),
        minimum=1,
        maximum=100_000,
    )
    relay_apikey: str | None = option(
        None,
        "Key that workers show to the relay; 16 characters or more.",
        kind=str,
        section=SECTION,
        env=("RELAY_APIKEY",),
        secret=True,
        example="key-of-the-workers",
    )
