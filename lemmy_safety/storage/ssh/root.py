"""The root folder of a storage on the server: found when it is opened, and later checked to be the same one."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from lemmy_safety.errors import StorageMissing, StorageUnreachable
from lemmy_safety.storage.ssh.sftp_wire import NO_SUCH_FILE, SftpRefusal
from lemmy_safety.storage.ssh.tree import SshTree, is_kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.storage.ssh.connection import SshConnections
    from lemmy_safety.storage.ssh.sftp import SftpSession

_HINT_MISSING = "Check PICTRS_FILES_DIRECTORY; with lemmy-ansible it ends in volumes/pictrs/files."


class SshRoot:
    """``tree`` is the tree below it, as last found."""

    def __init__(self, configured: bytes, name: str) -> None:
        """``configured`` is a path, absolute or relative to the account's home; ``name`` is the storage's."""
        self._configured = configured
        self._name = name
        self._file_system: int | None = None
        self.tree = SshTree(b"", name)

    def find(self, connections: SshConnections) -> None:
        """Make the folder that the path leads to now the root from now on.

        :raises StorageError: StorageMissing, AccessDenied, StorageUnreachable.
        """

        def find(session: SftpSession) -> None:
            root = session.realpath(self._configured)
            self._see_folder(session, root)
            session.is_empty(root)
            self.tree = SshTree(root, self._name)
            self._file_system = session.file_system(root)

        self._run(connections, find)

    def check(self, connections: SshConnections) -> None:
        """Check that the root exists and is still the one that was opened.

        :raises StorageError: StorageMissing, AccessDenied, or StorageUnreachable if it is on another file system.
        """

        def check(session: SftpSession) -> None:
            root = self.tree.root
            self._see_folder(session, root)
            if session.file_system(root) != self._file_system:
                raise StorageUnreachable(
                    f"{self._name} is no longer on the file system that was opened.",
                    hint="Check on the server that its file system is still mounted.",
                )

        self._run(connections, check)

    def _see_folder(self, session: SftpSession, path: bytes) -> None:
        if not is_kind(stat.S_ISDIR, session.stat(path)):
            raise StorageMissing(f"{self._name} is not a folder.", hint=_HINT_MISSING)

    def _run(self, connections: SshConnections, operation: Callable[[SftpSession], None]) -> None:
        try:
            connections.run(operation)
        except SftpRefusal as refusal:
            if refusal.code == NO_SUCH_FILE:
                raise StorageMissing(f"The folder {self._name} does not exist.", hint=_HINT_MISSING) from refusal
            raise self.tree.refused(".", refusal) from refusal
