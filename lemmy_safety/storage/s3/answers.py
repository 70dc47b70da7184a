"""Reads a server's answers without trusting them: any field may be missing or absurd.

boto3 passes on whatever fields the server sent. A field that is missing or absurd is None here; the callers
(``bucket``,
``storage``) decide what follows. Runs inside ``translated``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from botocore.utils import parse_timestamp

from lemmy_safety.records import UNKNOWN_TIME, StoredObject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: S3's largest object has 50 TB; a larger number is not a size. It also has to fit the ledger's 63 bits.
_MOST_BYTES = 1 << 50

#: What int and botocore's parse_timestamp raise; the latter raises RuntimeError for a time beyond the calendar.
UNPARSABLE = (ValueError, OverflowError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Entry:
    """One object as a listing describes it; None marks what the server left out or sent as nonsense."""

    key: str
    size: int | None
    modified_at: datetime | None
    etag: str | None

    def described(self, size: int) -> StoredObject:
        return StoredObject(key=self.key, size=size, modified_at=self.modified_at or UNKNOWN_TIME, etag=self.etag)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to a listing.

    ``more`` means that other pages follow, from ``token`` on, or (for a server that answers as ListObjects version 1
    does)
    from the key ``marker`` on. ``lost`` is how many announced entries cannot be read. ``escaped``: the server
    says that its keys are url-encoded (and boto3 has decoded them). ``empty_pages`` counts the pages without a key up
    to here. ``most_keys`` is the server's stated page size in keys, ``told_at`` its time when it answered.
    """

    entries: tuple[Entry, ...] = ()
    folders: tuple[str, ...] = ()
    more: bool = False
    token: str | None = None
    marker: str | None = None
    lost: int = 0
    escaped: bool = True
    empty_pages: int = 0
    most_keys: int | None = None
    told_at: datetime | None = None

    @property
    def last_key(self) -> str | None:
        return self.entries[-1].key if self.entries else None


def page_of(answer: Mapping[str, Any]) -> Page | None:
    """A listing's answer; None if it is not from an S3 server.

    botocore accepts any XML as an answer, and a web site's well-formed page as an empty bucket.
    """
    more = answer.get("IsTruncated")
    if more is None:
        return None
    listed = answer.get("Contents") or []
    entries = tuple(_entry(facts) for facts in listed if facts.get("Key"))
    folders = tuple(facts["Prefix"] for facts in answer.get("CommonPrefixes") or [] if facts.get("Prefix"))
    token = answer.get("NextContinuationToken") or None
    announced = answer.get("KeyCount")
    sent = len(listed) + len(answer.get("CommonPrefixes") or [])
    return Page(
        entries=entries,
        folders=folders,
        # A server that names a next page has one, whatever else it says.
        more=more or token is not None,
        token=token,
        marker=answer.get("NextMarker") or None,
        lost=len(listed) - len(entries) + max(0, (announced or 0) - sent),
        escaped=answer.get("EncodingType") == "url",
        most_keys=answer.get("MaxKeys"),
        told_at=told_at(answer),
    )


def entry_of(key: str, answer: Mapping[str, Any]) -> Entry:
    """The answer to HEAD for one object."""
    return Entry(
        key, size_in(answer.get("ContentLength")), time_in(answer.get("LastModified")), tag_in(answer.get("ETag"))
    )


def _entry(facts: Mapping[str, Any]) -> Entry:
    return Entry(
        facts["Key"], size_in(facts.get("Size")), time_in(facts.get("LastModified")), tag_in(facts.get("ETag"))
    )


def size_in(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 <= value <= _MOST_BYTES else None


def time_in(value: Any) -> datetime | None:
    """None also for times too old to be real: servers without a time send 1970, or the year 1."""
    if not isinstance(value, datetime):
        return None
    try:
        moment = value.astimezone(UTC)
    except (OverflowError, ValueError):
        return None
    return moment if moment > UNKNOWN_TIME else None


def tag_in(value: Any) -> str | None:
    return (value.removeprefix("W/").strip('"') or None) if isinstance(value, str) else None


def told_at(answer: Mapping[str, Any]) -> datetime | None:
    """The server's own time when it answered, in whole seconds: HTTP's Date header; None from a cache (Age)."""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    told = None if "age" in headers else headers.get("date")
    try:
        return parsedate_to_datetime(told).astimezone(UTC) if told else None
    except (ValueError, OverflowError, TypeError):
        return None


def drop_absurd_fields(response_dict: dict[str, Any], **_: Any) -> None:
    """Remove fields that cannot be parsed from a listing, so that they cost one object and not the page.

    A handler for botocore's event ``before-parse``.
    """
    try:
        root = ET.fromstring(response_dict["body"])  # noqa: S314 - expat 2.4.1 and later bounds entities
    except ET.ParseError:
        return  # botocore reports it
    _drop_from(root)
    for entry in root:
        if _name(entry) == "Contents":
            _drop_from(entry)
            if not any(_name(field) == "Key" for field in entry):
                ET.SubElement(entry, "Key").text = ""  # botocore expects one; ``page_of`` counts it as lost
    response_dict["body"] = ET.tostring(root)


_PARSERS: dict[str, Callable[[str], object]] = {
    "Size": int,
    "KeyCount": int,
    "MaxKeys": int,
    "LastModified": parse_timestamp,
}


def _drop_from(parent: ET.Element) -> None:
    seen = set()
    for field in list(parent):
        name = _name(field)
        if name in ("Contents", "CommonPrefixes"):
            continue
        if name in seen or not _can_be_parsed(name, field.text or ""):
            parent.remove(field)
        seen.add(name)


def _can_be_parsed(name: str, text: str) -> bool:
    try:
        _PARSERS.get(name, str)(text)
    except UNPARSABLE:
        return False
    return True


def _name(field: ET.Element) -> str:
    return field.tag.rpartition("}")[2]


def drop_absurd_headers(response_dict: dict[str, Any], **_: Any) -> None:
    """Remove headers that cannot be parsed from an answer about one object: no header is worth losing the object.

    A handler for botocore's event ``before-parse``.
    """
    headers = response_dict["headers"]
    for name, parse in _HEADER_PARSERS.items():
        try:
            parse(headers.get(name, "0"))
        except UNPARSABLE:
            del headers[name]


_HEADER_PARSERS: dict[str, Callable[[str], object]] = {
    "Content-Length": int,
    "Last-Modified": parse_timestamp,
    "x-amz-object-lock-retain-until-date": parse_timestamp,
    "x-amz-missing-meta": int,
    "x-amz-mp-parts-count": int,
    "x-amz-tagging-count": int,
}
