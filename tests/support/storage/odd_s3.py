"""A small S3 server in memory whose habits a test chooses.

It imitates habits that are reported of servers which cannot run here: Storj and stores with real folders list in an
order of their own, gateways leave fields out or answer as ListObjects version 1, proxies put pages of their own in the
place of an answer. Where S3 itself is meant, the tests use Swift. Signatures are not checked.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from support.storage.scripted_s3 import scripted_s3

from lemmy_safety.storage.s3 import S3Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.storage.scripted_s3 import Request, ScriptedS3

LONG_AGO = datetime(2026, 1, 1, 12, tzinfo=UTC)


def in_bytes(key: str) -> Any:
    """S3's order."""
    return key.encode()


def by_hash(key: str) -> Any:
    """Storj's: the order of encrypted names."""
    return hashlib.sha256(key.encode()).hexdigest()


def by_folder(key: str) -> Any:
    """Of stores with real folders: the files of a folder, then its folders."""
    *folders, name = key.split("/")
    return [(1, folder) for folder in folders] + [(0, name)]


def newest_first(key: str) -> Any:
    return [-ord(sign) for sign in key]


def _delete(server: OddS3, request: Request, key: str) -> None:
    server.objects.pop(key, None)
    request.send(204)


def _in_xml(key: str) -> str:
    """Text with what XML cannot hold replaced, as Go's XML does it."""
    return escape(re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "\ufffd", key), {"\r": "&#xD;"})


@dataclass
class OddS3:
    """``objects`` are bytes by key. Each other field is a habit; without any it answers as S3 does."""

    objects: dict[str, bytes] = field(default_factory=dict)
    modified: dict[str, datetime] = field(default_factory=dict)
    order: Callable[[str], Any] = in_bytes
    most_keys: int = 1000
    #: Answers the listing in another way than it would, given (query, the XML it would send).
    listing: Callable[[dict[str, str], str], str] = lambda _query, xml: xml
    #: The XML fields of one listed object, by name; a test takes some out or puts others in.
    entry: Callable[[str, dict[str, str]], dict[str, str]] = lambda _key, fields: fields
    #: Headers of GET and HEAD about an object, given (method, key, headers).
    headers: Callable[[str, str, dict[str, str]], dict[str, str]] = lambda _method, _key, headers: headers
    #: The body of GET, given (key, data).
    body: Callable[[str, bytes], bytes] = lambda _key, data: data
    #: Answers DELETE.
    delete: Callable[[OddS3, Request, str], None] = _delete
    #: Status and code for an object that is not there.
    missing: tuple[int, str] = (404, "NoSuchKey")
    ignores_start: bool = False
    ignores_prefix: bool = False
    ignores_version: bool = False  # answers as ListObjects version 1
    encodes: str = "asked"  # or "never", when XML's own limits bind, or "silently"
    #: How far its clock is ahead of this machine's.
    clock_ahead: timedelta = timedelta(0)

    def put(self, key: str, data: bytes = b"x", modified_at: datetime = LONG_AGO) -> None:
        self.objects[key] = data
        self.modified[key] = modified_at

    def now(self) -> datetime:
        return datetime.now(UTC) + self.clock_ahead

    def answer(self, request: Request) -> None:
        request.date_time_string = lambda *_: format_datetime(self.now(), usegmt=True)
        address = urlsplit(request.path)
        key = unquote(address.path.lstrip("/").partition("/")[2])
        query = {name: values[0] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        if request.command == "DELETE":
            self.delete(self, request, key)
        elif not key:
            request.send(200, self._listing(query).encode(), {"Content-Type": "application/xml"})
        elif key not in self.objects:
            request.refuse(*self.missing)
        else:
            data = self.objects[key]
            headers = {
                "Last-Modified": format_datetime(self.modified[key], usegmt=True),
                "ETag": f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"',
            }
            sent = self.body(key, data) if request.command == "GET" else data
            request.send(200, sent, self.headers(request.command, key, headers))

    def _listing(self, query: dict[str, str]) -> str:
        prefix = "" if self.ignores_prefix else query.get("prefix", "")
        listed = sorted((key for key in list(self.objects) if key.startswith(prefix)), key=self.order)
        first_version = self.ignores_version or "list-type" not in query
        start = query.get("marker") if first_version else self._start(query)
        if start:
            listed = [key for key in listed if self.order(key) > self.order(start)]
        most = min(int(query.get("max-keys", 1000)), self.most_keys)
        groups = self._grouped(listed, prefix, query.get("delimiter", ""))[: most + 1]
        more, groups = len(groups) > most, groups[:most]
        asked = "encoding-type" in query and self.encodes == "asked"
        written: Callable[[str], str] = quote if asked or self.encodes == "silently" else _in_xml
        parts = ["<EncodingType>url</EncodingType>" if asked else ""]
        parts += [f"<Name>pictrs</Name><MaxKeys>{most}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"]
        if not first_version:
            parts.append(f"<KeyCount>{len(groups)}</KeyCount>")
            if more:
                token = base64.urlsafe_b64encode(groups[-1].encode()).decode()
                parts.append(f"<NextContinuationToken>{token}</NextContinuationToken>")
        for group in groups:
            if group not in self.objects:
                parts.append(f"<CommonPrefixes><Prefix>{written(group)}</Prefix></CommonPrefixes>")
                continue
            data = self.objects[group]
            fields = {
                "Key": written(group),
                "Size": str(len(data)),
                "LastModified": self.modified[group].strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                "ETag": f"&quot;{hashlib.md5(data, usedforsecurity=False).hexdigest()}&quot;",
            }
            inner = "".join(f"<{name}>{text}</{name}>" for name, text in self.entry(group, fields).items())
            parts.append(f"<Contents>{inner}</Contents>")
        namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
        xml = f'<?xml version="1.0"?><ListBucketResult xmlns="{namespace}">{"".join(parts)}</ListBucketResult>'
        return self.listing(query, xml)

    def _start(self, query: dict[str, str]) -> str:
        if "continuation-token" in query:
            return base64.urlsafe_b64decode(query["continuation-token"]).decode()
        return "" if self.ignores_start else query.get("start-after", "")

    def _grouped(self, listed: list[str], prefix: str, delimiter: str) -> list[str]:
        if not delimiter:
            return listed
        rests = [key[len(prefix) :] for key in listed]
        return list(dict.fromkeys(prefix + (r.partition("/")[0] + "/" if "/" in r else r) for r in rests))


@contextlib.contextmanager
def odd_storage(server: OddS3, **how: Any) -> Iterator[tuple[S3Storage, ScriptedS3]]:
    """An open storage on such a server, and the server with what it was asked."""
    how = {"access_key": "AKIAEXAMPLE", "secret_key": "vErYsEcReT", "attempts": 1, **how}
    with scripted_s3(server.answer) as scripted, S3Storage(scripted.endpoint, "pictrs", **how) as storage:
        yield storage, scripted
