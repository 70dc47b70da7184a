"""A deletion that the storage refuses is in the summary, in ``flagged``, in ``doctor`` and in the exit code."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.storage.odd_s3 import OddS3
from support.storage.scripted_s3 import scripted_s3

from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.errors import AccessDenied, ActionRefused, ObjectChanged
from lemmy_safety.storage.local import LocalStorage
from lemmy_safety.storage.s3 import removal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.conftest import LocalStore
    from support.storage.scripted_s3 import Request

REFUSED = ActionRefused.exit_code
KEY = "01/aa/canary.png"


@pytest.fixture
def read_only(store: LocalStore) -> Iterator[LocalStore]:
    """The store on a disk that is mounted so that it can only be read."""
    folder = str(store.folder)
    if shutil.which("mount") is None or subprocess.run(["mount", "--bind", folder, folder], check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield store
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_sweep_over_a_read_only_store_says_that_nothing_was_deleted(call, read_only):
    """In words, in numbers, and by its code; the next one says it again."""
    for _ in range(2):
        result = call("--all", "--exit-code-flagged", "9")
        assert result.exit_code == REFUSED
        assert "not acted on, refused by the storage  2" in result.stdout
    summary = call("--all", "--json")
    assert summary.exit_code == REFUSED
    assert json.loads(summary.stdout)["action_failed"] == 2
    shown = call("flagged").stdout
    assert "delete failed (3 times)" in shown
    assert "Read-only" in shown
    rows = json.loads(call("flagged", "--json").stdout)
    assert {(row["action_state"], row["action_refusals"]) for row in rows} == {("failed", 3)}
    deleted = call("delete-flagged", "--yes")
    assert deleted.exit_code == REFUSED
    assert "0 objects deleted, 2 left" in deleted.stdout


def test_the_doctor_says_what_a_storage_refused(call, store, monkeypatch):
    """Also where its own probe object could be deleted, as with retention on pictures only."""
    delete = LocalStorage._delete

    def refuse(self, key, expected):
        if key.startswith("01/"):
            raise AccessDenied(f"{key}: a retention rule protects it")
        return delete(self, key, expected)

    monkeypatch.setattr(LocalStorage, "_delete", refuse)
    assert call("--all").exit_code == REFUSED
    result = call("doctor", "--quick", "--json")
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert result.exit_code == checks["actions"]["exit_code"] == REFUSED
    assert "2 refused by the storage" in checks["actions"]["detail"]
    assert "lemmy-safety flagged" in checks["actions"]["fix"]
    monkeypatch.setattr(LocalStorage, "_delete", delete)
    assert call("--all").exit_code == 0
    assert "All is well." in call("doctor", "--quick").stdout


def test_refused_again_and_again_reaches_a_person(call, store, monkeypatch):
    """One refusal as changed is normal; the second one of the same bytes is not."""

    def changed(_self, key, _expected):
        raise ObjectChanged(f"{key} looks different at each look")

    monkeypatch.setattr(LocalStorage, "_delete", changed)
    assert call("--all").exit_code == 0
    second = call("--all")
    assert second.exit_code == REFUSED
    assert "refused again and again" in second.stdout
    assert "delete refused (2 times)" in call("flagged").stdout
    monkeypatch.undo()


@pytest.mark.external_service
@pytest.mark.parametrize("answer", ["kept", "not allowed"])
def test_a_bucket_that_keeps_its_objects_is_said_to(call, monkeypatch, tmp_path, answer):
    """204 and it stays, or 405: failed, and the doctor's probe object shows it, too."""
    monkeypatch.setattr(removal, "PAUSES_S", (0.0,))

    def delete(_server: OddS3, request: Request, _key: str) -> None:
        if answer == "kept":
            request.send(204)
        else:
            request.refuse(405, "MethodNotAllowed")

    server = OddS3(delete=delete)
    server.put(KEY, canary_png())
    with scripted_s3(server.answer) as scripted:
        for name, value in {
            "OBJECT_STORAGE_ENDPOINT": scripted.endpoint,
            "PICTRS_BUCKET": "pictrs",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "DETECTORS": "hashes",
            "SQLITE_FILENAME": str(tmp_path / "ledger.db"),
        }.items():
            monkeypatch.setenv(name, value)
        result = call("--all")
        assert result.exit_code == REFUSED
        assert "refused by the storage" in result.stdout
        assert KEY in server.objects
        doctor = call("doctor", "--quick").stdout
        assert "FAULT write and delete" in doctor
        assert "FAULT actions" in doctor
