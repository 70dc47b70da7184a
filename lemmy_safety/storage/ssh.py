"""pict-rs's ``files`` folder on another machine, over SSH: everything is done on the server, nothing is kept here.

Files are read, moved and deleted by SFTP, so an account without a shell is enough; an account with one is listed by
``find``. As in a local folder, symbolic links are never followed and only regular files are objects (sftp-server itself
follows links out of the store, and would block on a pipe).
"""

from __future__ import annotations

import contextlib
import posixpath
import stat
from datetime import timedelta
from typing import TYPE_CHECKING

from lemmy_safety.errors import (
    AccessDenied,
    BadKey,
    ObjectChanged,
    ObjectGone,
    ObjectTooLarge,
    StorageError,
    StorageMissing,
    StorageUnreachable,
)
from lemmy_safety.pictrs import keys
from lemmy_safety.records import StoredObject
from lemmy_safety.storage.base import ProbeStep, Storage
from lemmy_safety.storage.names import from_key, to_key
from lemmy_safety.storage.probing import probe_steps
from lemmy_safety.storage.ssh_connection import SshConnections
from lemmy_safety.storage.ssh_listing import EPOCH, FindListing, SftpListing, join
from lemmy_safety.storage.ssh_login import SshLogin
from lemmy_safety.storage.ssh_sftp_wire import BAD_MESSAGE, NO_SUCH_FILE, PERMISSION_DENIED, SftpRefusal
from lemmy_safety.storage.wanted_keys import WantedKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path
    from typing import TypeVar

    from lemmy_safety.storage.ssh_listing import FoundFile
    from lemmy_safety.storage.ssh_sftp import SftpSession
    from lemmy_safety.storage.ssh_sftp_wire import Attributes

    T = TypeVar("T")

# A folder that a deletion next door removes as empty may vanish between making it and moving a file into it.
_MOVE_ATTEMPTS = 5

#: sshd's default MaxSessions. Measured on loopback, more channels bring nothing either: paramiko is one thread a
#: transport.
CHANNELS_PER_CONNECTION = 10

_HINT_MISSING = "Check PICTRS_FILES_DIRECTORY; with lemmy-ansible it ends in volumes/pictrs/files."
_HINT_LINK = "Links in the store are never followed."


class SshStorage(Storage):
    """One folder on a server. ``root`` itself may be a symbolic link; what it points to when opened is the root."""

    settle_s = 5.0

    def __init__(
        self,
        host: str,
        port: int,
        username: str,
        *,
        private_key: Path | None,
        passphrase: str | None,
        known_hosts: Path,
        root: str,
        channels: int = CHANNELS_PER_CONNECTION,
        ask_passphrase: Callable[[str], str] | None = None,
    ) -> None:
        """Connects to nothing yet.

        :param root: absolute, or relative to the account's home folder (``~/`` too).
        :param channels: most SFTP sessions on one connection; more threads open further connections.
        :param ask_passphrase: given a prompt, returns a passphrase; None where nobody can be asked.
        """
        self._login = SshLogin(
            host,
            port,
            username,
            private_key=private_key,
            passphrase=passphrase,
            known_hosts=known_hosts,
            ask_passphrase=ask_passphrase,
        )
        self._channels = channels
        path = posixpath.normpath(root.removeprefix("~/") or ".")
        # normpath keeps two leading slashes, which POSIX allows to mean something else; nobody means it.
        self._configured_root = ("/" + path.lstrip("/") if path.startswith("/") else path).encode("utf-8")
        shown = path.lstrip("/") if path.startswith("/") else f"~/{path}"
        address = f"[{host.lower()}]" if ":" in host else host.lower()
        self.name = f"ssh:{username}@{address}:{port}/{shown}"
        self._connections: SshConnections | None = None
        self._find: FindListing | None = None
        self._root = b""
        self._file_system: int | None = None
        self._first_created_at: datetime | None = None

    def open(self) -> None:
        if self._connections is not None:
            return
        self._root = b""
        self._connections = SshConnections(self._login, self._channels)
        try:
            self._check_root()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._connections is not None:
            self._connections.close()
            self._connections = self._find = None

    def probe(self) -> Iterator[ProbeStep]:
        return probe_steps(self, write=self._write_probe, details=self._details)

    def _list(
        self, *, since: datetime | None, prefix: str, after: str | None, exhaustive: bool
    ) -> Iterator[StoredObject]:
        self._check_root()
        created_from = None
        if since is not None and not exhaustive and self._rest_is_older(since):
            created_from = since - keys.LATE_ARRIVAL
        wanted = WantedKeys(prefix=prefix, after=after or "", created_from=created_from)
        start = self._start(wanted.folder)
        if start is None:
            return
        for found in self._found(start, wanted, since):
            key = to_key(found.path)
            if wanted.wants(key):
                yield _described(key, found)

    def _found(self, start: bytes, wanted: WantedKeys, since: datetime | None) -> Iterator[FoundFile]:
        find, sftp = self._listings()
        if not find.available():
            yield from sftp.files(start, wanted, since)
            return
        starts = [start] if wanted.created_from is None else sftp.start_folders(start, wanted)
        if starts:
            yield from find.files(starts, since)

    def _start(self, folder: str) -> bytes | None:
        """The path of a folder to start from; None when nothing can lie below it."""
        if not folder:
            return b""
        try:
            self.check_key(folder)
            path = from_key(folder)
            facts = self._run(folder, lambda session: self._locate(session, folder, path))
        except (BadKey, ObjectGone):
            return None
        return path if _is(stat.S_ISDIR, facts) else None

    def _rest_is_older(self, since: datetime) -> bool:
        """Whether everything outside pict-rs's time-ordered keys is known to have been there before ``since``."""
        if not keys.is_ordered_since(since - keys.LATE_ARRIVAL):
            return False
        if self._first_created_at is None:
            wanted = WantedKeys(prefix=keys.V7_ROOT)
            start = self._start(wanted.folder)
            if start is not None:
                # One folder after the other in the order of their names, which is the order of time.
                files = self._listings()[1].files(start, wanted, at_once=1)
                times = (keys.created_at(to_key(found.path)) for found in files)
                # Folders that may not be read are reported by the listing itself.
                with contextlib.suppress(AccessDenied):
                    self._first_created_at = next((time for time in times if time is not None), None)
        return not keys.legacy_may_be_new(since, self._first_created_at)

    def _read(self, key: str, max_bytes: int) -> bytes:
        path = from_key(key)

        def read(session: SftpSession) -> bytes:
            facts = self._regular(session, key, path)
            if facts.size > max_bytes:
                raise _too_large(key, max_bytes)
            return session.read(join(self._root, path), size=facts.size, limit=max_bytes + 1)

        content = self._run(key, read)
        if len(content) > max_bytes:
            raise _too_large(key, max_bytes)
        return content

    def _stat(self, key: str) -> StoredObject:
        path = from_key(key)
        return _described(key, self._run(key, lambda session: self._regular(session, key, path)))

    def _delete(self, key: str) -> bool:
        path = from_key(key)
        asked = False

        def delete(session: SftpSession) -> bool:
            nonlocal asked
            try:
                self._regular(session, key, path)
            except ObjectGone:
                if asked:
                    # The line broke after the request, and the server had carried it out.
                    return True
                raise
            asked = True
            session.remove(join(self._root, path))
            session.remove_empty_folders(self._parents(path)[::-1])
            return True

        try:
            return self._run(key, delete)
        except ObjectGone:
            return False

    def _move(self, key: str, new_key: str) -> None:
        path, new_path = from_key(key), from_key(new_key)

        def move(session: SftpSession) -> None:
            try:
                self._regular(session, key, path)
            except ObjectGone:
                self._regular(session, new_key, new_path)
                return
            for attempt in range(1, _MOVE_ATTEMPTS + 1):
                self._make_parents(session, new_key, new_path)
                self._check_free(session, key, new_key, new_path)
                try:
                    session.rename(join(self._root, path), join(self._root, new_path))
                except SftpRefusal as refusal:
                    if refusal.code != NO_SUCH_FILE or attempt == _MOVE_ATTEMPTS:
                        self._check_free(session, key, new_key, new_path)
                        raise
                    self._regular(session, key, path)
                else:
                    break
            session.remove_empty_folders(self._parents(path)[::-1])

        self._run(key, move)

    def _make_parents(self, session: SftpSession, key: str, path: bytes) -> None:
        """Make the folders above a key that are missing, none of them through a link."""
        folders = self._parents(path)
        missing = []
        for folder, facts in zip(folders, session.lstat_all(folders), strict=True):
            if facts is None:
                missing.append(folder)
            elif not _is(stat.S_ISDIR, facts):
                raise BadKey(f"{key!r} leads through something that is no folder.", hint=_HINT_LINK)
        session.make_folders(missing)

    def _check_free(self, session: SftpSession, key: str, new_key: str, new_path: bytes) -> None:
        with contextlib.suppress(ObjectGone):
            self._locate(session, new_key, new_path)
            raise ObjectChanged(f"{new_key!r} already exists; {key!r} was left alone.")

    def _parents(self, path: bytes) -> list[bytes]:
        """The folders above a path, from the top, without the root."""
        parts = path.split(b"/")[:-1]
        return [join(self._root, b"/".join(parts[: count + 1])) for count in range(len(parts))]

    def _regular(self, session: SftpSession, key: str, path: bytes) -> Attributes:
        facts = self._locate(session, key, path)
        if _is(stat.S_ISLNK, facts):
            raise BadKey(f"{key!r} is a symbolic link.", hint=_HINT_LINK)
        if not _is(stat.S_ISREG, facts):
            raise ObjectGone(f"{key!r} is no regular file.")
        return facts

    def _locate(self, session: SftpSession, key: str, path: bytes) -> Attributes:
        """Describe what lies at a path, none of whose folders is a link."""
        full = join(self._root, path)
        folder = posixpath.dirname(full)
        try:
            real, facts = session.locate(folder, full)
        except SftpRefusal as refusal:
            raise self._refused(key, refusal) from refusal
        if real != folder:
            raise BadKey(f"{key!r} leads through a symbolic link.", hint=_HINT_LINK)
        return facts

    def _run(self, key: str, operation: Callable[[SftpSession], T]) -> T:
        try:
            try:
                return self._pool().run(operation)
            except SftpRefusal as refusal:
                raise self._refused(key, refusal) from refusal
        except ObjectGone:
            # Were the whole folder away, every object would look deleted.
            self._check_root()
            raise

    def _refused(self, key: str, refusal: SftpRefusal) -> StorageError:
        where = f"{key!r} in {self.name}"
        if refusal.code == NO_SUCH_FILE:
            return ObjectGone(f"{where} does not exist (any more).")
        if refusal.code == PERMISSION_DENIED:
            return AccessDenied(f"{where}: permission denied by the server.")
        if refusal.code == BAD_MESSAGE:
            # sshd's word for ENAMETOOLONG and EINVAL.
            return BadKey(f"{where} is a name that the server cannot have.")
        return StorageError(f"{where}: the server refused ({refusal}).")

    def _pool(self) -> SshConnections:
        if self._connections is None:
            raise StorageError(f"{self.name} is not open.", hint="Open the storage first.")
        return self._connections

    def _listings(self) -> tuple[FindListing, SftpListing]:
        if self._find is None:
            self._find = FindListing(self._pool(), self._root, self.name)
        return self._find, SftpListing(self._pool(), self._root, self.name)

    def _resolve_root(self, session: SftpSession) -> bytes:
        root = session.realpath(self._configured_root)
        if not _is(stat.S_ISDIR, session.stat(root)):
            raise StorageMissing(f"{self.name} is not a folder.", hint=_HINT_MISSING)
        return root

    def _check_root(self) -> None:
        """See that the root is there and is still the one that was opened.

        :raises StorageError: StorageMissing, AccessDenied, or StorageUnreachable for an empty mount point.
        """

        def check(session: SftpSession) -> None:
            root = self._resolve_root(session)
            file_system = session.file_system(root)
            if self._root == b"":
                session.is_empty(root)
                self._root, self._file_system = root, file_system
            elif file_system != self._file_system and session.is_empty(self._root):
                raise StorageUnreachable(
                    f"{self.name} is empty and no longer on the file system that was opened.",
                    hint="Check on the server that its file system is still mounted.",
                )

        try:
            self._pool().run(check)
        except SftpRefusal as refusal:
            if refusal.code == NO_SUCH_FILE:
                raise StorageMissing(f"The folder {self.name} does not exist.", hint=_HINT_MISSING) from refusal
            raise self._refused("", refusal) from refusal

    def _details(self) -> str:
        return "listed by find" if self._listings()[0].available() else "listed by SFTP"

    def _write_probe(self, key: str, data: bytes) -> None:
        path = join(self._root, from_key(key))
        self._run(key, lambda session: session.write_new(path, data))


def _is(kind: Callable[[int], bool], facts: Attributes) -> bool:
    return facts.mode is not None and kind(facts.mode)


def _described(key: str, facts: Attributes | FoundFile) -> StoredObject:
    return StoredObject(key=key, size=facts.size, modified_at=EPOCH + timedelta(seconds=facts.mtime))


def _too_large(key: str, max_bytes: int) -> ObjectTooLarge:
    return ObjectTooLarge(f"{key!r} holds more than {max_bytes} bytes.")
