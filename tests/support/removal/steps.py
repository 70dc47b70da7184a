"""What happens to an instance besides uploads: the hook is set, and pict-rs ends in the middle of a sweep."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.admin import eventually, free_port, stop
from support.servers.pictrs_process import told
from support.web import pictrs_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from support.removal.instance import Instance
    from support.removal.uploads import Picture

_VALIDATOR = "PICTRS__MEDIA__EXTERNAL_VALIDATION"


def answers_with_hook(instance: Instance, pictures: Sequence[Picture]) -> list[tuple[int, str]]:
    """What pict-rs answers to these uploads, and to the remote ones at a view, when it asks our hook."""
    with _hook(instance):
        return [_answer(instance, picture) for picture in pictures]


def _answer(instance: Instance, picture: Picture) -> tuple[int, str]:
    if picture.url is not None:
        return told(instance.pictrs.get("/image/original", proxy=picture.url))
    return told(instance.pictrs.upload(picture.data, picture.media_type))


@contextmanager
def _hook(instance: Instance) -> Iterator[None]:
    """``lemmy-safety serve`` with the same database, and pict-rs started again with its URL."""
    port = free_port()
    # More than the default, for busy machines, and less than the 30 s that pict-rs waits.
    instance.admin.env |= {"HOOK_PORT": str(port), "HOOK_BUDGET_S": "14"}
    process = instance.admin.start("serve")

    def ready() -> bool:
        try:
            return pictrs_client.get(port, "/ready").status == 200
        except OSError:
            return False

    eventually(ready, "the hook is ready", process=process)
    _start_again(instance, {_VALIDATOR: f"http://127.0.0.1:{port}/validate"})
    try:
        yield
    finally:
        stop(process)
        _start_again(instance, {})


def _start_again(instance: Instance, settings: dict[str, str]) -> None:
    instance.pictrs.stop(gently=True)
    instance.pictrs.forget(_VALIDATOR)
    instance.pictrs.change(**settings)
    instance.pictrs.start()


def stop_pictrs_at_purge(instance: Instance, number: int, *, gently: bool, answered: bool) -> None:
    """Have pict-rs end at the purge with this number: before it has it, or ``answered`` but its answer is lost."""
    purges = 0

    def at(_method: str, path: str) -> bool:
        nonlocal purges
        purges += path == "/internal/purge"
        if path != "/internal/purge" or purges != number:
            return False
        instance.pictrs.stop(gently=gently)
        return True

    if answered:
        instance.watch.after = at
    else:
        instance.watch.before = at
