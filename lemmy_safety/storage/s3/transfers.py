"""The bytes of one object, whole or not at all: broken-off bodies are requested again, and compressed ones unpacked."""

from __future__ import annotations

import contextlib
import logging
import zlib
from typing import TYPE_CHECKING

from lemmy_safety.errors import StorageUnreachable
from lemmy_safety.foreign import foreign
from lemmy_safety.storage.base import too_large
from lemmy_safety.storage.pace import PacedStream
from lemmy_safety.storage.s3.errors import translated

if TYPE_CHECKING:
    from lemmy_safety.storage.pace import Pace
    from lemmy_safety.storage.s3.requests import BucketRequests

_log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
# Proxies that compress answers on the way, and servers configured to do so, say so in Content-Encoding.
_PACKED = ("gzip", "x-gzip", "deflate")
# What gzip and deflate add to incompressible bytes, plus five bytes for each 16 KiB; zlib's flag for either header.
_PACKING_BYTES = 64
_ANY_HEADER = 32
# How often a broken-off body is requested again; botocore retries only failures before the body.
_TRANSFERS = 3


def transferred(requests: BucketRequests, key: str, max_bytes: int, size: int | None, pace: Pace | None) -> bytes:
    """``size`` is the size in the listing, if known."""
    for transfer in range(1, _TRANSFERS + 1):
        try:
            return _transfer(requests, key, max_bytes, size, PacedStream(pace, max_bytes if size is None else size))
        except StorageUnreachable as error:
            if transfer == _TRANSFERS:
                raise
            _log.debug("reading %r again: %s", key, error.message)
    raise AssertionError  # the loop returns or raises


def _transfer(requests: BucketRequests, key: str, max_bytes: int, size: int | None, stream: PacedStream) -> bytes:
    stream.wait()
    with translated(requests.place, key):
        answer = requests.client.get_object(Bucket=requests.bucket, Key=key)
        with contextlib.closing(answer["Body"]) as body:
            packed = size is not None and answer.get("ContentEncoding") in _PACKED
            # Content compressed only on the way can be larger than the original.
            limit = max_bytes + _PACKING_BYTES + max_bytes // 1000 if packed else max_bytes
            if answer.get("ContentLength", 0) > limit:
                raise too_large(key, max_bytes)
            data = bytearray()
            # Up to the empty read: there botocore compares the received length with the announced one.
            while chunk := body.read(stream.piece(len(data), min(_CHUNK_BYTES, limit + 1 - len(data)))):
                data += chunk
                if len(data) > limit:
                    raise too_large(key, max_bytes)
        # An object that is stored compressed is listed with its compressed size.
        if packed and len(data) != size:
            return _unpacked(key, bytes(data), max_bytes)
    return bytes(data)


def _unpacked(key: str, data: bytes, max_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | _ANY_HEADER)
    try:
        unpacked = unpacker.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise StorageUnreachable(f"{key!r} came packed and cannot be unpacked: {foreign(error)}.") from error
    if len(unpacked) > max_bytes:
        raise too_large(key, max_bytes)
    return unpacked
