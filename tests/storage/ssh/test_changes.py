"""Deleting and moving happen on the server, once, and lose nothing."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.scan.passes import scanner_over
from support.scan.scanned_store import SWEEP
from support.storage.ssh import BOTH_WAYS, keys_of

from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.errors import ObjectChanged
from lemmy_safety.records import ActionState
from lemmy_safety.storage.ssh.sftp import SftpSession
from lemmy_safety.storage.ssh.sftp_wire import SftpBroken

if TYPE_CHECKING:
    from support.servers.sshd import SshBackend

    from lemmy_safety.storage.ssh import SshStorage

pytestmark = pytest.mark.external_service


@BOTH_WAYS
def test_deleting_happens_on_the_server(backend: SshBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool this one descends from removed a file of the same name on the machine that scans."""
    monkeypatch.chdir(tmp_path)
    local = tmp_path / "store" / "01" / "a.jpg"
    local.parent.mkdir(parents=True)
    local.write_bytes(b"mine")
    backend.put("01/a.jpg", b"theirs")
    if backend.label == "ssh":
        # Relative to the home folder there, which is where sftp-server starts.
        (Path.home() / "store").exists()
        backend.server.stop()
        backend.server.environment["HOME"] = str(backend.root.parent)
        backend.server.start()
        root = str(backend.root)
    else:
        root = "store"
    with backend.storage(root=root) as storage:
        assert storage.delete("01/a.jpg") is True
    assert not backend.exists("01/a.jpg")
    assert local.read_bytes() == b"mine"


def test_deleting_leaves_no_empty_folders_but_full_ones(backend: SshBackend, storage: SshStorage) -> None:
    """As pict-rs does it; the root stays."""
    backend.put("01/aa/bb/cc/x.jpg", b"x")
    backend.put("01/aa/y.jpg", b"y")
    assert storage.delete("01/aa/bb/cc/x.jpg") is True
    assert sorted(os.listdir(backend.root / "01" / "aa")) == ["y.jpg"]  # noqa: PTH208
    storage.move("01/aa/y.jpg", "q/y.jpg")
    assert sorted(os.listdir(backend.root)) == ["q"]  # noqa: PTH208
    assert storage.delete("q/y.jpg") is True
    assert backend.root.is_dir()


def test_moves_side_by_side_never_lose_an_object(backend: SshBackend, storage: SshStorage) -> None:
    """Several threads race to one place; one wins, and the others' objects stay."""
    for number in range(16):
        backend.put(f"from/{number}/x.jpg", b"%d" % number)

    def move(number: int) -> bool:
        try:
            storage.move(f"from/{number}/x.jpg", "to/the/same/x.jpg")
        except ObjectChanged:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        moved = list(pool.map(move, range(16)))
    assert moved.count(True) == 1
    kept = [f"from/{number}/x.jpg" for number in range(16) if not moved[number]]
    assert keys_of(storage) == sorted([*kept, "to/the/same/x.jpg"])


def test_a_deletion_whose_answer_was_lost_is_done(
    backend: SshBackend, storage: SshStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the reconnect the object is gone, and that was us."""
    backend.put("neighbour.jpg", b"x")
    backend.put("a.jpg", b"x")
    original = SftpSession.remove

    def remove_then_break(session: SftpSession, path: bytes) -> None:
        original(session, path)
        backend.server.kill_sessions()
        raise SftpBroken("answer lost")

    monkeypatch.setattr(SftpSession, "remove", remove_then_break)
    assert storage.delete("a.jpg") is True
    assert storage.delete("a.jpg") is False


@pytest.mark.parametrize("backend", ["ssh-plain-user", "sftp"], indirect=True)
def test_a_deletion_that_the_account_may_not_do_counts_as_failed(backend: SshBackend, tmp_path: Path) -> None:
    """Its folder belongs to someone else: a pass says that the storage refused, and the next one tries again."""
    backend.put("a/canary.png", canary_png())
    (backend.root / "a").chmod(0o755)
    os.chown(backend.root / "a", 0, 0)
    with scanner_over(backend.root, tmp_path / "ledger.db", storage=backend.storage()) as scanner:
        for _ in range(2):
            summary = scanner.run(SWEEP)
            assert (summary.acted, summary.refused, summary.action_failed) == (0, 0, 1)
        (row,) = scanner.ledger.reviews.flagged()
        assert (row.action_state, row.refusals) == (ActionState.FAILED, 2)
        assert "permission denied" in row.action_detail
        (backend.root / "a").chmod(0o777)
        assert scanner.run(SWEEP).acted == 1
    assert not backend.exists("a/canary.png")
