"""Lists the files below a folder on the server by SFTP, many folders at a time.

For accounts without a shell, and to find the few folders from which ``find`` starts.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from lemmy_safety.errors import StorageError
from lemmy_safety.storage.listers import listers
from lemmy_safety.storage.names import to_key
from lemmy_safety.storage.ssh.found import FoundFile, denied, microseconds
from lemmy_safety.storage.ssh.sftp_wire import NO_SUCH_FILE, PERMISSION_DENIED, SftpRefusal
from lemmy_safety.storage.ssh.tree import join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime
    from typing import TypeAlias

    from lemmy_safety.storage.ssh.connection import SshConnections
    from lemmy_safety.storage.ssh.sftp_wire import Entry
    from lemmy_safety.storage.wanted_keys import WantedKeys

    #: For each folder its entries, or why it may not be listed.
    _Answers: TypeAlias = list[list[Entry] | SftpRefusal]

#: Folders requested together over one SFTP session: 32 share three round trips, and their names are all held in memory.
FOLDERS_AT_ONCE = 32

#: Sessions that list at the same time. pict-rs makes seven folders for nearly every file, so with a distant server only
#: round trips count; with a near one, a single session keeps paramiko busy.
SESSIONS = 4

#: More start folders than this do not make find faster, only its command line longer.
_MOST_STARTS = 64

#: Cells of 65.5 s (``01/a1/96/fb``); below them there is one folder for nearly every file.
_START_DEPTH = 4


class SftpListing:
    """Listing by SFTP, many folders at a time."""

    def __init__(self, connections: SshConnections, root: bytes, name: str) -> None:
        self._connections = connections
        self._root = root
        self._name = name

    def files(
        self,
        start: bytes,
        wanted: WantedKeys,
        since: datetime | None = None,
        *,
        at_once: int = SESSIONS * FOLDERS_AT_ONCE,
    ) -> Iterator[FoundFile]:
        """Files below a start folder. With ``at_once=1`` they come in the order of their names, folders last.

        If the connection breaks, a session's current request is listed again; nothing is yielded twice.

        :raises StorageError: AccessDenied at the end, after everything else, if a folder may not be read.
        """
        earliest = 0 if since is None else microseconds(since) // 1_000_000
        waiting = [start]
        refused: list[bytes] = []
        with listers(SESSIONS) as pool:
            while waiting:
                batch = [waiting.pop() for _ in range(min(at_once, len(waiting)))]
                below: list[bytes] = []
                for folder, found in self._scan(batch, refused, pool.map):
                    if isinstance(found, FoundFile):
                        if found.mtime >= earliest or found.mtime == 0:
                            yield found
                    elif wanted.leads_to_wanted(to_key(folder)):
                        below.append(folder)
                waiting += sorted(below, reverse=True)
        if refused:
            raise denied(self._name, len(refused), repr(to_key(refused[0])))

    def start_folders(self, start: bytes, wanted: WantedKeys) -> list[bytes]:
        """The few folders below ``start`` that hold everything wanted, as start folders for find."""
        refused: list[bytes] = []
        starts = [start]
        for _ in range(_START_DEPTH - start.count(b"/") - 1):
            below = [
                folder
                for folder, found in self._scan(starts, refused)
                if found is None and wanted.leads_to_wanted(to_key(folder))
            ]
            if refused or len(below) > _MOST_STARTS:
                # find gets the same refusal and reports it.
                return starts
            starts = sorted(below)
        return starts

    def _scan(
        self, folders: Sequence[bytes], refused: list[bytes], each: Callable[..., Iterable[_Answers]] = map
    ) -> Iterator[tuple[bytes, FoundFile | None]]:
        """Each file as (path, file) and each folder as (path, None); folders that may not be read go to ``refused``.

        ``each`` is ``map``, or that of a pool, which uses several sessions.
        """
        batches = [folders[at : at + FOLDERS_AT_ONCE] for at in range(0, len(folders), FOLDERS_AT_ONCE)]
        for batch, answers in zip(batches, each(self._ask, batches), strict=True):
            for folder, answer in zip(batch, answers, strict=True):
                if not isinstance(answer, SftpRefusal):
                    yield from _described(folder, answer)
                elif answer.code == PERMISSION_DENIED:
                    refused.append(folder)
                elif answer.code != NO_SUCH_FILE:
                    raise StorageError(f"The folder {to_key(folder)!r} in {self._name} cannot be listed: {answer}.")

    def _ask(self, folders: Sequence[bytes]) -> _Answers:
        paths = [join(self._root, folder) for folder in folders]
        return self._connections.run(lambda session: session.scan_folders(paths))


def _described(folder: bytes, entries: Iterable[Entry]) -> Iterator[tuple[bytes, FoundFile | None]]:
    for entry in entries:
        mode = entry.attributes.mode or 0
        path = join(folder, entry.name) if folder else entry.name
        # A server could answer with a name that leads elsewhere.
        if not entry.name or b"/" in entry.name or b"\0" in entry.name:
            continue
        if stat.S_ISDIR(mode):
            yield path, None
        elif stat.S_ISREG(mode):
            yield path, FoundFile(path, entry.attributes.file_size, entry.attributes.mtime)
