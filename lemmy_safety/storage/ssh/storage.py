"""pict-rs's ``files`` folder on another machine, over SSH: all work is done on the server, and nothing is kept here.

Files are read, moved and deleted by SFTP, so an account without a shell is enough; with a shell, ``find`` does the
listing. As in a local folder, symbolic links are never followed and only regular files are objects (sftp-server itself
follows links out of the store, and would block on a pipe).
"""

from __future__ import annotations

import contextlib
import posixpath
import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lemmy_safety.errors import (
    AccessDenied,
    BadKey,
    ObjectGone,
    StorageError,
)
from lemmy_safety.pictrs import keys
from lemmy_safety.pictrs.layout import SIGNS_OF_A_SYSTEM, TELLING_FOLDERS, too_wide
from lemmy_safety.records import StoredObject
from lemmy_safety.storage.base import Storage, too_large
from lemmy_safety.storage.judged import raise_unless_judged
from lemmy_safety.storage.names import from_key, to_key
from lemmy_safety.storage.parts import new_part
from lemmy_safety.storage.ssh.connection import SshConnections
from lemmy_safety.storage.ssh.find import FindListing
from lemmy_safety.storage.ssh.found import EPOCH
from lemmy_safety.storage.ssh.root import SshRoot
from lemmy_safety.storage.ssh.route import SshRoute
from lemmy_safety.storage.ssh.sftp_listing import SftpListing
from lemmy_safety.storage.ssh.sftp_wire import SftpRefusal
from lemmy_safety.storage.ssh.ssh_config import SshConfig
from lemmy_safety.storage.ssh.tree import is_kind
from lemmy_safety.storage.wanted_keys import WantedKeys
from lemmy_safety.storage.wrong_folder import refuse, refuse_wrong_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TypeVar

    from lemmy_safety.storage.pace import Pace
    from lemmy_safety.storage.ssh.found import FoundFile
    from lemmy_safety.storage.ssh.sftp import SftpSession
    from lemmy_safety.storage.ssh.tree import SshTree

    T = TypeVar("T")

#: sshd's default MaxSessions. Measured on loopback, more channels do not help either: paramiko uses one thread per
#: transport.
CHANNELS_PER_CONNECTION = 10

#: Measured with find on a warm disk: half a second for this many, with seven folders for each object.
WHOLE_BY_FIND = 5_000

#: Seven folders an object, 32 of them in three round trips: two seconds at 30 ms each, over one session.
WHOLE_BY_SFTP = 100


class SshStorage(Storage):
    """One folder on a server. ``root`` itself may be a symbolic link; its target when opened is the root."""

    settle_s = 5.0
    whole_seconds = True

    whole_listing_up_to = WHOLE_BY_SFTP

    def __init__(  # noqa: PLR0913 - what an admin may set of a connection
        self,
        host: str,
        port: int | None,
        username: str | None,
        *,
        private_key: Path | None,
        passphrase: str | None,
        known_hosts: Path | None,
        root: str,
        config: SshConfig | None = None,
        channels: int = CHANNELS_PER_CONNECTION,
        ask_passphrase: Callable[[str], str] | None = None,
    ) -> None:
        """Connects to nothing yet.

        ``port``, ``username``, ``private_key`` and ``known_hosts`` may come from ``config``; arguments override it.

        :param host: an address, or a name of ``config``. The storage is named after it, wherever it leads.
        :param root: absolute, or relative to the account's home folder (``~/`` too).
        :param channels: most SFTP sessions on one connection; more threads open further connections.
        :param ask_passphrase: receives a prompt, returns a passphrase; None if no person can be asked.
        """
        super().__init__()
        place = (config or SshConfig()).lookup(host, port=port, username=username)
        self._login = SshRoute(
            config or SshConfig(),
            private_key=private_key,
            passphrase=passphrase,
            known_hosts=known_hosts,
            ask_passphrase=ask_passphrase,
        ).login(place)
        self._channels = channels
        path = posixpath.normpath(root.removeprefix("~/") or ".").encode("utf-8", "surrogateescape")
        # normpath keeps two leading slashes, which POSIX allows to mean something else; that is never intended here.
        configured = b"/" + path.lstrip(b"/") if path.startswith(b"/") else path
        shown = path.lstrip(b"/") if path.startswith(b"/") else b"~/" + path
        address = f"[{host.lower()}]" if ":" in host else host.lower()
        self.name = f"ssh:{place.username}@{address}:{place.port}/{to_key(shown)}"
        self._connections: SshConnections | None = None
        self._root = SshRoot(configured, self.name)
        self._find: FindListing | None = None

    def open(self) -> None:
        if self._connections is not None:
            # A pass begins: if the disk was remounted since the last one, the new mount is the root from now on.
            root = self._tree.root
            self._root.find(self._connections)
            if self._tree.root != root:
                self._find = None
            self._compare_clocks()
            self._see_which_folder_it_is()
            return
        self._connections = SshConnections(self._login, self._channels)
        try:
            self._root.find(self._connections)
            by_find = self._listings()[0].available()
            self._compare_clocks()
            self._see_which_folder_it_is()
        except BaseException:
            self.close()
            raise
        self.whole_listing_up_to = WHOLE_BY_FIND if by_find else WHOLE_BY_SFTP

    def _compare_clocks(self) -> None:
        """Compare the clocks; an SFTP-only account has no way to ask for the time."""
        find = self._listings()[0]
        asked_at = datetime.now(UTC)
        told = find.clock() if find.available() else None
        if told is not None:
            self.clock.compare(self.name, told, asked_at, datetime.now(UTC))

    def _see_which_folder_it_is(self) -> None:
        there = self._pool().run(lambda session: self._tree.folders(session, (*TELLING_FOLDERS, *SIGNS_OF_A_SYSTEM)))
        # An SFTP-only account may see only the store, as its root, and an account for pict-rs may have it as its home.
        if to_key(self._tree.root) != "/" or not set(there).isdisjoint(SIGNS_OF_A_SYSTEM):
            refuse(self, too_wide(to_key(self._tree.root)))
        refuse_wrong_folder(self, to_key(self._tree.root), there)

    def close(self) -> None:
        if self._connections is not None:
            self._connections.close()
            self._connections = self._find = None

    def _list(
        self, *, since: datetime | None, prefix: str, after: str | None, created_from: datetime | None
    ) -> Iterator[StoredObject]:
        self._root.check(self._pool())
        wanted = WantedKeys(prefix=prefix, after=after or "", created_from=created_from)
        start = self._start(wanted.folder)
        if start is None:
            return
        for found in self._found(start, wanted, since):
            key = to_key(found.path)
            if wanted.wants(key):
                yield _described(key, found.size, found.mtime)
        # Files that vanish during the listing are not an error, unless all did.
        self._root.check(self._pool())

    def _found(self, start: bytes, wanted: WantedKeys, since: datetime | None) -> Iterator[FoundFile]:
        find, sftp = self._listings()
        if not find.available():
            yield from sftp.files(start, wanted, since)
            return
        starts = [start] if wanted.created_from is None else sftp.start_folders(start, wanted)
        if starts:
            yield from find.files(starts, since)

    def _start(self, folder: str) -> bytes | None:
        """The path of a folder to start from; None if nothing can be below it."""
        if not folder:
            return b""
        try:
            self.check_key(folder)
            path = from_key(folder)
            facts = self._run(folder, lambda session: self._tree.locate(session, folder, path))
        except (BadKey, ObjectGone):
            return None
        return path if is_kind(stat.S_ISDIR, facts) else None

    def ordered_keys(self) -> Iterator[str]:
        wanted = WantedKeys(prefix=keys.V7_ROOT)
        start = self._start(wanted.folder)
        if start is None:
            return
        # The listing itself reports folders that may not be read.
        with contextlib.suppress(AccessDenied):
            # One folder after the other in the order of their names.
            for found in self._listings()[1].files(start, wanted, at_once=1):
                yield to_key(found.path)

    def _read(self, key: str, max_bytes: int, pace: Pace | None) -> bytes:
        path = from_key(key)
        content = self._run(key, lambda session: self._tree.read(session, key, path, max_bytes, pace))
        if len(content) > max_bytes:
            raise too_large(key, max_bytes)
        return content

    def _stat(self, key: str) -> StoredObject:
        path = from_key(key)
        facts = self._run(key, lambda session: self._tree.regular(session, key, path))
        return _described(key, facts.file_size, facts.mtime)

    def _delete(self, key: str, expected: StoredObject | None) -> bool:
        path = from_key(key)
        asked = False

        def delete(session: SftpSession) -> bool:
            nonlocal asked
            try:
                facts = self._tree.regular(session, key, path, thorough=True)
                raise_unless_judged(_described(key, facts.file_size, facts.mtime), expected)
            except ObjectGone:
                if asked:
                    # The connection broke after the request, and the server had carried it out.
                    return True
                raise
            asked = True
            session.remove(self._tree.full(path))
            self._tree.ensure_gone(session, key, path, facts)
            session.remove_empty_folders(self._tree.parents(path)[::-1])
            return True

        try:
            return self._run(key, delete)
        except ObjectGone:
            return False

    def _move(self, key: str, new_key: str) -> None:
        path, new_path = from_key(key), from_key(new_key)
        self._run(key, lambda session: self._tree.move(session, key, path, new_key, new_path))

    def _run(self, key: str, operation: Callable[[SftpSession], T]) -> T:
        try:
            try:
                return self._pool().run(operation)
            except SftpRefusal as refusal:
                raise self._tree.refused(key, refusal) from refusal
        except ObjectGone:
            # If the whole folder were missing, every object would look deleted.
            self._root.check(self._pool())
            raise

    @property
    def _tree(self) -> SshTree:
        return self._root.tree

    def _pool(self) -> SshConnections:
        if self._connections is None:
            raise StorageError(f"{self.name} is not open.", hint="Open the storage first.")
        return self._connections

    def _listings(self) -> tuple[FindListing, SftpListing]:
        if self._find is None:
            self._find = FindListing(self._pool(), self._tree.root, self.name)
        return self._find, SftpListing(self._pool(), self._tree.root, self.name)

    def _is_empty(self) -> bool:
        return bool(self._pool().run(lambda session: session.is_empty(self._tree.root)))

    def details(self) -> str:
        how = "listed by find" if self._listings()[0].available() else "listed by SFTP"
        return ", ".join(filter(None, (how, self._login.way.shown)))

    def _write_new(self, key: str, data: bytes) -> bool:
        path, part = from_key(key), new_part().encode()
        tried = False

        def write(session: SftpSession) -> bool:
            nonlocal tried
            again, tried = tried, True
            return self._tree.write_new(session, key, path, part, data, again=again)

        return self._run(key, write)


def _described(key: str, size: int, mtime: int) -> StoredObject:
    return StoredObject(key=key, size=size, modified_at=EPOCH + timedelta(seconds=mtime))
