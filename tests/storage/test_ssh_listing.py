"""Listing by SFTP where a store has many folders, as pict-rs's have."""

from __future__ import annotations

import threading

from support.sshd import open_backend

from lemmy_safety.storage.ssh_listing import FOLDERS_AT_ONCE, SESSIONS
from lemmy_safety.storage.ssh_sftp import SftpSession
from lemmy_safety.storage.wanted_keys import WantedKeys


def test_many_folders_are_asked_for_over_several_sessions_together(monkeypatch):
    """Four sessions have full batches in their hands at the same time, and every file is told of once."""
    keys = [f"{number:03}/{number % 7}/a.png" for number in range(300)]
    meeting = threading.Barrier(SESSIONS)
    sessions: list[int] = []
    scan_folders = SftpSession.scan_folders

    def scan(session, paths):
        if len(paths) == FOLDERS_AT_ONCE and len(sessions) < SESSIONS:
            sessions.append(id(session))
            meeting.wait(timeout=20)
        return scan_folders(session, paths)

    monkeypatch.setattr(SftpSession, "scan_folders", scan)
    with open_backend("ssh") as backend:
        for key in keys:
            backend.put(key, b"x")
        with backend.storage() as storage:
            found = [file.path.decode() for file in storage._listings()[1].files(b"", WantedKeys())]
    assert sorted(found) == keys
    assert len(set(sessions)) == SESSIONS
