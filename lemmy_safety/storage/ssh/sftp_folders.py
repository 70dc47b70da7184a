"""Lists the names in many folders over SFTP, in shared round trips."""

from __future__ import annotations

import stat
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from lemmy_safety.storage.ssh.sftp_wire import (
    ATTRS,
    CLOSE,
    EOF,
    HANDLE,
    LSTAT,
    NAME,
    OPENDIR,
    READDIR,
    Entry,
    SftpRefusal,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lemmy_safety.storage.ssh.sftp_wire import SftpWire

#: Folder requests in flight for one folder; each answer of OpenSSH holds up to 100 names.
_FOLDER_READS = 32


def scan_folders(wire: SftpWire, paths: Sequence[bytes]) -> list[list[Entry] | SftpRefusal]:
    """The entries of each folder, or why the server refused to list it; all folders share the round trips."""
    opening = [wire.ask(OPENDIR, path) for path in paths]
    handles: list[bytes | SftpRefusal] = []
    for request in opening:
        try:
            handles.append(wire.expect(HANDLE, request).text())
        except SftpRefusal as no:
            handles.append(no)
    # Two requests each: the names, and the end. Longer folders are read further below.
    asked = [
        deque([wire.ask(READDIR, handle), wire.ask(READDIR, handle)]) if isinstance(handle, bytes) else deque()
        for handle in handles
    ]
    found: list[list[Entry] | SftpRefusal] = []
    for path, handle, requests in zip(paths, handles, asked, strict=True):
        if isinstance(handle, SftpRefusal):
            found.append(handle)
            continue
        try:
            found.append(_entries(wire, path, handle, requests))
        except SftpRefusal as refusal:
            found.append(refusal)
    # All at the end: each queued request is sent when the next answer is awaited, in its own packet.
    for handle in handles:
        if isinstance(handle, bytes):
            wire.forget(wire.ask(CLOSE, handle))
    wire.flush()
    return found


def _entries(wire: SftpWire, path: bytes, handle: bytes, requests: deque[int]) -> list[Entry]:
    entries: list[Entry] = []
    ahead = len(requests)
    try:
        while (names := names_in(wire, requests.popleft())) is not None:
            entries += [_with_mode(wire, path, entry) for entry in names]
            if not requests:
                ahead = min(ahead * 2, _FOLDER_READS)
                requests += [wire.ask(READDIR, handle) for _ in range(ahead)]
    finally:
        for request in requests:
            wire.forget(request)
    return entries


def _with_mode(wire: SftpWire, path: bytes, entry: Entry) -> Entry:
    attributes = entry.attributes
    if attributes.mode is None or attributes.size is None:
        attributes = wire.expect(ATTRS, wire.ask(LSTAT, path + b"/" + entry.name)).attributes()
    if attributes.mode is not None and stat.S_ISREG(attributes.mode):
        attributes = replace(attributes, size=attributes.file_size)
    return Entry(entry.name, attributes)


def names_in(wire: SftpWire, request: int) -> list[Entry] | None:
    """One answer to READDIR; None at the end of the folder."""
    try:
        fields = wire.expect(NAME, request)
    except SftpRefusal as refusal:
        if refusal.code == EOF:
            return None
        raise
    entries = []
    for _ in range(fields.number()):
        name = fields.text()
        fields.text()  # the line as printed by ls -l
        attributes = fields.attributes()
        if name not in (b".", b".."):
            entries.append(Entry(name, attributes))
    return entries
