"""Typed questions to a running pict-rs: one method for each endpoint of its internal interface that we use.

Statuses decide, not codes or messages, which changed in 0.6. None stands for "it knows no such picture".
Look-ups by ``proxy=`` are not offered: they restart pict-rs's retention of the picture.
Source: pict-rs 0.5.25 src/lib.rs, 0.6.0-rc.6 routes/admin.rs; ``tests/e2e/test_pictrs_api.py`` asks both.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final, Self, TypeVar
from urllib.parse import quote

from lemmy_safety.errors import NotPictrs, PictrsError, PictrsTooOld
from lemmy_safety.foreign import foreign
from lemmy_safety.pictrs.api.answers import (
    Answer,
    Details,
    HashPage,
    Imported,
    Limits,
    Served,
    aliases_of,
    details_of,
    identifier_of,
    imported_of,
    limits_of,
    page_of,
)
from lemmy_safety.pictrs.api.pace import Pace
from lemmy_safety.pictrs.api.requests import Requests
from lemmy_safety.pictrs.hashes import StoredHash

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from types import TracebackType

    from lemmy_safety.pictrs.tunnel import Tunnel

_LOOKUP_S = 15.0
#: From 0.5.17 on pict-rs may first compute a blurhash of each listed picture from its original.
_PAGE_S = 120.0
#: pict-rs gives up on an upload after four times its process time-out of 30 s.
_IMPORT_S = 150.0

_OK, _CREATED, _BAD_REQUEST, _NOT_FOUND, _METHOD_NOT_ALLOWED = 200, 201, 400, 404, 405

#: Requests a second. pict-rs 0.5.25 answers a few hundred look-ups a second on two cores; users come first.
PER_SECOND: Final = 20.0

_MOST_SHOWN = 100

_T = TypeVar("_T")


class PictrsApi:
    """One running pict-rs. A context manager, which closes connections."""

    def __init__(
        self,
        *,
        url: str,
        key: str,
        per_second: float = PER_SECOND,
        pace: Pace | None = None,
        tunnel: Tunnel | None = None,
    ) -> None:
        """:raises SettingsError: URL, key, proxy or certificates cannot be used."""
        self._requests = Requests(url=url, key=key, pace=pace or Pace(per_second), tunnel=tunnel)

    @property
    def url(self) -> str:
        return self._requests.url

    @property
    def sent(self) -> int:
        """Requests so far."""
        return self._requests.sent

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._requests.close()

    def check(self) -> None:
        """Ask about a picture that cannot exist.

        :raises PictrsUnreachable: no answer.
        :raises PictrsLoginRefused: the key is wrong.
        :raises NotPictrs: another service answers.
        """
        self.aliases(_no_picture())

    def check_writable(self) -> None:
        """Ask to delete a picture that cannot exist. 0.4 has no such request, and says nothing.

        :raises PictrsReadOnly: it is in read-only mode.
        """
        self._requests.internal("POST", "/internal/delete", params={"alias": _no_picture()}, patience_s=_LOOKUP_S)

    def aliases(self, alias: str) -> tuple[str, ...] | None:
        """All aliases of the bytes that have this one."""
        found = self._lookup("GET", "/internal/aliases", alias, aliases_of)
        return found or None  # up to 0.5.18 an unknown alias has an empty list

    def identifier(self, alias: str) -> str | None:
        """The key of the original in the storage."""
        return self._lookup("GET", "/internal/identifier", alias, identifier_of)

    def details(self, alias: str) -> Details | None:
        """What pict-rs recorded about a picture.

        :raises PictrsError: its file is gone, and no blurhash of it is stored.
        """
        answer = self._requests.public("GET", _path("/image/details/original", alias), patience_s=_LOOKUP_S)
        if answer.status == _OK and answer.body is not None:
            return details_of(answer)  # has a msg from 0.6 on
        return details_of(answer) if self._is_known(answer) else None

    def served(self, alias: str) -> Served | None:
        """The head of the picture itself, as browsers get it; its file is not read."""
        answer = self._requests.public("HEAD", _path("/image/original", alias), patience_s=_LOOKUP_S)
        if answer.status == _NOT_FOUND:
            return None
        if answer.status >= _BAD_REQUEST:
            raise self._unexpected(answer)
        return Served(
            hash=StoredHash.from_etag(answer.headers.get("etag", "")),
            media_type=answer.headers.get("content-type", ""),
        )

    def hashes(self, *, limit: int, slug: str | None = None, older_than: datetime | None = None) -> HashPage:
        """A page of pictures, the newest first: from ``slug`` on, or older than a moment (aware), or the newest.

        A slug whose picture is gone gives the newest page: compare ``current``. With PostgreSQL a moment before the
        first picture does too: compare ``created_at``.

        :raises PictrsTooOld: pict-rs 0.4 has no list.
        :raises PictrsError: one picture of the page is missing or broken, so that pict-rs cannot show the page.
        """
        question = {"limit": str(limit)}
        if slug is not None:
            question["slug"] = slug
        if older_than is not None:
            question["timestamp"] = older_than.isoformat().replace("+00:00", "Z")
        answer = self._requests.internal("GET", "/internal/hashes", params=question, patience_s=_PAGE_S)
        if answer.status == _NOT_FOUND and not answer.is_of_pictrs:
            self.check()  # another service would be the more useful error
            raise PictrsTooOld(f"pict-rs at {self.url} has no list of its pictures: it is older than 0.5.")
        self._require(answer, _OK)
        return page_of(answer)

    def purge(self, alias: str) -> tuple[str, ...] | None:
        """Have all aliases and files of the bytes of ``alias`` removed, some time after the answer: these aliases.

        :raises PictrsReadOnly: pict-rs is in read-only mode.
        """
        return self._lookup("POST", "/internal/purge", alias, aliases_of, repeat=False)

    def delete(self, alias: str) -> bool:
        """Have one alias removed, and the files when no alias is left. Returns whether there was one.

        :raises PictrsReadOnly: pict-rs is in read-only mode.
        :raises PictrsTooOld: pict-rs 0.4 cannot.
        """
        answer = self._requests.internal(
            "POST", "/internal/delete", params={"alias": alias}, patience_s=_LOOKUP_S, repeat=False
        )
        if answer.status == _NOT_FOUND and not answer.is_of_pictrs:
            self.check()
            raise PictrsTooOld(f"pict-rs at {self.url} cannot delete one alias: it is older than 0.5.")
        return self._is_known(answer)

    def import_file(self, name: str, data: bytes, media_type: str) -> Imported:
        """Upload a file under an alias of our choice.

        :raises PictrsReadOnly: pict-rs is in read-only mode.
        :raises PictrsError: it refuses the file, or has the alias already.
        """
        files = {"images[]": (name, data, media_type)}
        answer = self._requests.internal("POST", "/internal/import", files=files, patience_s=_IMPORT_S, repeat=False)
        self._require(answer, _CREATED)
        return imported_of(answer)

    def limits(self) -> Limits | None:
        """Its settings for media; None before 0.6.0-rc.5."""
        answer = self._requests.internal("GET", "/internal/limits", patience_s=_LOOKUP_S)
        return limits_of(answer) if answer.status == _OK else None

    def _lookup(
        self, method: str, path: str, alias: str, read: Callable[[Answer], _T], *, repeat: bool = True
    ) -> _T | None:
        answer = self._requests.internal(method, path, params={"alias": alias}, patience_s=_LOOKUP_S, repeat=repeat)
        return read(answer) if self._is_known(answer) else None

    def _is_known(self, answer: Answer) -> bool:
        if answer.status == _NOT_FOUND and answer.is_of_pictrs:
            return False
        # 0.4 says 400 to a purge of an unknown alias, and gives no codes. From 0.5 on each 400 has one.
        if answer.status == _BAD_REQUEST and answer.is_of_pictrs and not answer.code:
            return False
        self._require(answer, _OK)
        return True

    def _require(self, answer: Answer, status: int) -> None:
        if answer.status != status or not answer.is_of_pictrs:
            raise self._unexpected(answer)

    def _unexpected(self, answer: Answer) -> PictrsError:
        if not answer.is_of_pictrs:
            return NotPictrs(f"What answers at {self.url} ({answer.status}) is not pict-rs.")
        said = ascii(foreign(answer.code or (answer.body or {}).get("msg", "")))[1:-1][:_MOST_SHOWN]
        return PictrsError(f"pict-rs at {self.url} answers {answer.status} ({said}).")


def _path(before: str, alias: str) -> str:
    return f"{before}/{quote(alias, safe='')}"


def _no_picture() -> str:
    return f"lemmy-safety-{uuid.uuid4()}"
