"""A bucket of a million objects that takes no disk: an S3 server that lists made-up keys and serves one picture for all.

Not a test of any server, only something to list: real servers are in the test suite. As a program: prints its endpoint,
then answers until it is ended. ``GET /requests`` tells and forgets how often it was asked, by operation.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
from bisect import bisect_right
from collections import Counter
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from PIL import Image

from lemmy_safety.pictrs import keys as pictrs_keys

BUCKET = "pictrs"


def made_up_keys(number: int, *, newest: datetime, days: float, seed: int) -> list[str]:
    """Time-ordered keys, drawn evenly over so many days up to ``newest``."""
    draw = random.Random(seed)
    span = timedelta(days=days)
    return [
        pictrs_keys.make_key(newest - span * (1 - (place + 1) / number), draw.getrandbits(74), ".webp")
        for place in range(number)
    ]


class Bucket(ThreadingHTTPServer):
    """``keys`` sorted; an object's time is its key's."""

    daemon_threads = True

    def __init__(self, keys: list[str], seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.keys = keys
        self.asked: Counter[str] = Counter()
        picture = io.BytesIO()
        Image.effect_noise((320, 240), 60 + seed % 10).convert("RGB").save(picture, "WEBP")
        self.picture = picture.getvalue()


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bucket

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        if url.path == "/requests":
            told, self.server.asked = dict(self.server.asked), Counter()
            self._send(json.dumps(told).encode(), {})
        elif "list-type" in query:
            self.server.asked["list"] += 1
            self._send(self._page(query).encode(), {"Content-Type": "application/xml"})
        else:
            self.server.asked["get"] += 1
            self._send(self.server.picture, _facts(unquote(url.path).split("/", 2)[2]))

    def do_HEAD(self) -> None:
        self.server.asked["head"] += 1
        self._send(self.server.picture, _facts(unquote(urlsplit(self.path).path).split("/", 2)[2]))

    def do_POST(self) -> None:
        """Add so many keys drawn just now."""
        number = int(self.headers["X-Number"])
        added = made_up_keys(number, newest=datetime.now(UTC), days=1e-4, seed=number)
        self.server.keys = sorted([*self.server.keys, *added])
        self._send(b"", {})

    def _page(self, query: dict[str, str]) -> str:
        keys, prefix = self.server.keys, query.get("prefix", "")
        behind = query.get("continuation-token") or query.get("start-after", "")
        place = max(bisect_right(keys, behind), bisect_right(keys, prefix))
        if query.get("delimiter"):
            folders, place = [], bisect_right(keys, prefix)
            while place < len(keys) and keys[place].startswith(prefix):
                folders.append(prefix + keys[place][len(prefix) :].partition("/")[0] + "/")
                place = bisect_right(keys, folders[-1] + "\U0010ffff")
            body = "".join(f"<CommonPrefixes><Prefix>{quote(folder)}</Prefix></CommonPrefixes>" for folder in folders)
            return _listing(body, None)
        most = int(query.get("max-keys", "1000"))
        page = [key for key in keys[place : place + most] if key.startswith(prefix)]
        more = len(page) == most and place + most < len(keys)
        size = len(self.server.picture)
        body = "".join(
            f"<Contents><Key>{quote(key)}</Key><LastModified>{_time(key):%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
            f"<ETag>&quot;e&quot;</ETag><Size>{size}</Size></Contents>"
            for key in page
        )
        return _listing(body, page[-1] if more else None)

    def _send(self, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


def _time(key: str) -> datetime:
    made = pictrs_keys.created_at(key)
    if made is None:
        raise ValueError(f"{key!r} is no key of ours")
    return made


def _facts(key: str) -> dict[str, str]:
    return {"ETag": '"e"', "Last-Modified": f"{_time(key):%a, %d %b %Y %H:%M:%S GMT}", "Content-Type": "image/webp"}


def _listing(body: str, following: str | None) -> str:
    token = f"<NextContinuationToken>{quote(following)}</NextContinuationToken>" if following else ""
    truncated = "true" if following else "false"
    return (
        '<?xml version="1.0"?><ListBucketResult><EncodingType>url</EncodingType>'
        f"<IsTruncated>{truncated}</IsTruncated>{token}{body}</ListBucketResult>"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--objects", type=int, required=True)
    parser.add_argument("--days", type=float, default=365)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    keys = made_up_keys(
        options.objects, newest=datetime.now(UTC) - timedelta(hours=1), days=options.days, seed=options.seed
    )
    with Bucket(keys, options.seed) as bucket:
        print(f"http://127.0.0.1:{bucket.server_address[1]}", flush=True)
        sys.stdout.close()
        bucket.serve_forever()


if __name__ == "__main__":
    main()
