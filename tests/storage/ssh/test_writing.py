"""New files over lines that break and on servers that deny an extension."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from support.servers.sshd import open_backend

from lemmy_safety.storage.parts import is_part
from lemmy_safety.storage.ssh.sftp import SftpSession
from lemmy_safety.storage.ssh.sftp_wire import SftpBroken

if TYPE_CHECKING:
    from support.servers.sshd import SshBackend

    from lemmy_safety.storage.ssh import SshStorage

pytestmark = pytest.mark.external_service

KEY = "quarantine/a.enc"
DATA = random.Random(2).randbytes(2_000_000)


def files_on(backend: SshBackend) -> list[str]:
    return [path.name for path in backend.root.rglob("*") if path.is_file()]


def test_a_line_that_breaks_before_the_file_has_its_name_leaves_nothing_behind(
    backend: SshBackend, storage: SshStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written again over a new line, and the first attempt's part is removed."""
    real = SftpSession.rename
    seen = []

    def break_first(session: SftpSession, path: bytes, new_path: bytes) -> None:
        seen.append(files_on(backend))
        if len(seen) == 1:
            backend.server.kill_sessions()
        real(session, path, new_path)

    monkeypatch.setattr(SftpSession, "rename", break_first)
    assert storage.write_new(KEY, DATA) is True
    assert len(seen) == 2
    assert all(len(names) == 1 and is_part(names[0]) for names in seen)
    assert files_on(backend) == ["a.enc"]
    assert storage.read(KEY, max_bytes=len(DATA)) == DATA


def test_a_write_whose_answer_was_lost_is_done(
    backend: SshBackend, storage: SshStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the reconnect the file has its name, and the same bytes."""
    real = SftpSession.rename

    def rename_then_break(session: SftpSession, path: bytes, new_path: bytes) -> None:
        real(session, path, new_path)
        backend.server.kill_sessions()
        raise SftpBroken("answer lost")

    monkeypatch.setattr(SftpSession, "rename", rename_then_break)
    assert storage.write_new(KEY, DATA) is False
    assert files_on(backend) == ["a.enc"]


@pytest.mark.parametrize("denied", ["fsync", "statvfs", "fsync,statvfs"])
def test_a_server_that_denies_an_extension_takes_new_files(denied: str) -> None:
    """sshd's own list of what may not be asked for: then the server alone decides when bytes are on its disk."""
    with open_backend("ssh", [f"Subsystem sftp internal-sftp -P {denied}"]) as backend, backend.storage() as storage:
        assert storage.write_new(KEY, DATA) is True
        assert storage.read(KEY, max_bytes=len(DATA)) == DATA
