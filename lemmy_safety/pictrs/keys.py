"""pict-rs's key scheme: from 0.5.7 on a key is a UUIDv7, so the order of keys is the order of creation.

Pure functions; this module touches no storage. A key is the UUID's 32 hex digits as ten folders of two digits and a
name of the last twelve, plus an extension: ``01/a1/96/fb/16/00/7a/bc/9d/ef/0123456789ab.webp``. The first six folders
are milliseconds since 1970, big-endian, so two-digit steps are cells of time: ``01/xx`` is 49.7 days, ``01/xx/yy``
4.66 hours, ``01/xx/yy/zz`` 65.5 seconds. The upgrade to 0.5.7 renamed nothing, so older keys (a counter in folders,
``1/23/<uuid4>``) stay next to these for ever; in the older form the first folder is never ``01``.
Source: pict-rs src/file_path.rs and releases/0.5.7.md.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

V7_ROOT = "01/"
"""Every time-ordered key made from 2004-11-03 to 2039-09-07 starts with this, and no older key does."""

LATE_ARRIVAL = timedelta(minutes=10)
"""How late an object may appear after its key's time; listings by key time step back this much.

pict-rs draws the key when the first chunk arrives, but S3 shows the object when its upload is complete: the request
body may take 60 s and processing 30 s (pict-rs's own limits). The rest allows for clock differences between replicas.
"""

LEGACY_GRACE = timedelta(days=1)
"""How long after the first time-ordered key an older pict-rs may still have been writing keys of the older form
(replicas upgraded one after the other, an upgrade rolled back for some hours)."""

_HEALTH_CHECK = "health-check"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_ORDERED_FROM = _EPOCH + 0x0100_0000_0000 * _MILLISECOND
# Eight months before V7_ROOT overflows into "02/", so that no window of a run can cross that boundary.
_ORDERED_TO = datetime(2039, 1, 1, tzinfo=UTC)

_PAIR = "[0-9a-f]{2}"
# Time in six folders, version 7, four random bits and eight more, RFC 9562's variant 10, then the rest.
_V7_KEY = re.compile(
    rf"(01(?:/{_PAIR}){{5}})/7[0-9a-f]/{_PAIR}/[89ab][0-9a-f]/{_PAIR}/[0-9a-f]{{12}}(?:\.[0-9A-Za-z]+)?"
)
# Older form: a counter in folders, the first of which says how many follow, and a UUID.
_COUNTER = re.compile("[0-9]{3}")
_OLDER_NAME = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:\.[0-9A-Za-z]+)?")
_V7_FOLDER = re.compile(rf"01(?:/{_PAIR}){{0,9}}")

_TIME_FOLDERS = 6
_RANDOM_BITS = 74


def is_health_check(key: str, size: int) -> bool:
    """Whether this is the empty object that pict-rs writes into a bucket on each request to ``/healthz`` (from 0.5.17).

    It holds no upload. An object of that name with content is not pict-rs's.
    """
    return key == _HEALTH_CHECK and size == 0


def is_key(key: str) -> bool:
    """Whether pict-rs makes such keys, from 0.4 on or today; of 0.3, only the keys below ``files/``."""
    if created_at(key) is not None:
        return True
    *folders, name = key.split("/")
    if not folders or _OLDER_NAME.fullmatch(name) is None or not all(map(_COUNTER.fullmatch, folders)):
        return False
    return int(folders[0]) == len(folders) - 1


def created_at(key: str) -> datetime | None:
    """When pict-rs drew this key (aware UTC, whole milliseconds); None if it is not a time-ordered key."""
    match = _V7_KEY.fullmatch(key)
    return None if match is None else _cell_start(match[1])


def make_key(moment: datetime, random_bits: int, extension: str = "") -> str:
    """The key pict-rs would draw at ``moment`` (aware) with these 74 random bits; ``extension`` includes its dot."""
    bits = random_bits % (1 << _RANDOM_BITS)
    number = _milliseconds(moment) << 80 | 7 << 76 | (bits >> 62) << 64 | 0b10 << 62 | bits & ((1 << 62) - 1)
    digits = f"{number:032x}"
    return "/".join([*(digits[at : at + 2] for at in range(0, 20, 2)), digits[20:]]) + extension


def start_after(moment: datetime) -> str:
    """A text that sorts after every time-ordered key drawn before ``moment`` (its millisecond) and before all others.

    Use it as S3's StartAfter to list what was created since then.
    """
    digits = f"{_milliseconds(moment):012x}"
    return "/".join(digits[at : at + 2] for at in range(0, 2 * _TIME_FOLDERS, 2))


def is_ordered_since(since: datetime) -> bool:
    """Whether all time-ordered keys drawn from ``since`` until now start with ``V7_ROOT``; if not, list everything."""
    return _ORDERED_FROM <= since < _ORDERED_TO


def legacy_may_be_new(since: datetime, first_created_at: datetime | None) -> bool:
    """Whether keys of the older form can have appeared at or after ``since``.

    ``first_created_at`` is the time of the first time-ordered key in the storage, which shows when pict-rs was
    upgraded; None if there is no such key, so that pict-rs may be older than 0.5.7.
    """
    return first_created_at is None or since <= first_created_at + LEGACY_GRACE


def newest_below(folder: str) -> datetime | None:
    """The time before which every time-ordered key below ``folder`` was drawn (``01/a1``, without a slash at its end).

    None if no time-ordered key can be below it. Do not call it for the root "": the answer would be wrong.
    """
    if _V7_FOLDER.fullmatch(folder) is None:
        return None
    depth = min(folder.count("/") + 1, _TIME_FOLDERS)
    return _cell_start(folder) + (1 << 8 * (_TIME_FOLDERS - depth)) * _MILLISECOND


def _milliseconds(moment: datetime) -> int:
    return max(0, (moment - _EPOCH) // _MILLISECOND)


def _cell_start(folder: str) -> datetime:
    digits = folder.replace("/", "")[: 2 * _TIME_FOLDERS]
    return _EPOCH + int(digits.ljust(2 * _TIME_FOLDERS, "0"), 16) * _MILLISECOND
