"""A storage that answers with an error for the same object in every pass: no sweep looks like a success, and doctor names it."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
from support.media.pictures import encode, gradient
from support.storage.odd_s3 import OddS3
from support.storage.scripted_s3 import scripted_s3

from lemmy_safety.detectors.hashes.canary import canary_png

pytestmark = pytest.mark.external_service

BROKEN = "3.png"


@contextmanager
def server_that_refuses(monkeypatch, tmp_path, more=None):
    """An S3 server that lists five pictures and refuses to give one; ``refused`` can be emptied. Real ones do so after a
    disk was lost, or for objects in an archive.
    """
    server, refused = OddS3(), {BROKEN}
    for key, data in (more or {}).items():
        server.put(key, data)
    for number in range(5):
        server.put(f"{number}.png", encode(gradient(seed=number), "png"))

    def answer(request):
        if request.command == "GET" and any(request.path.endswith(f"/{key}") for key in refused):
            request.refuse(403, "InvalidObjectState", "")
        else:
            server.answer(request)

    monkeypatch.chdir(tmp_path)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "k" * 16,
        "AWS_SECRET_ACCESS_KEY": "s" * 16,
        "PICTRS_BUCKET": "bucket",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DETECTORS", "hashes")
    with scripted_s3(answer) as running:
        monkeypatch.setenv("OBJECT_STORAGE_ENDPOINT", running.endpoint)
        yield refused


def faults_of_objects(call):
    """What doctor says of them; the server here takes no probe object, which is another fault."""
    checks = json.loads(call("doctor", "--quick", "--json").stdout)["checks"]
    return [check for check in checks if check["name"] == "objects"]


def test_it_is_told_until_it_can_be_read(call, monkeypatch, tmp_path) -> None:
    """The sweep's code, its summary, the list, and doctor from the third pass on."""
    with server_that_refuses(monkeypatch, tmp_path) as refused:
        for number in (1, 2, 3):
            assert faults_of_objects(call) == []
            result = call("--all", "--exit-code-flagged", "9")
            assert result.exit_code == 25
            assert f"Pass {number}: complete, and 1 object could not be checked" in result.stdout
            assert "InvalidObjectState" in result.stdout
            (row,) = json.loads(call("unreadable", "--json").stdout)
            assert (row["key"], row["failed_passes"]) == (BROKEN, number)
        assert "failed in 3 in a row" in call("unreadable").stdout
        (check,) = faults_of_objects(call)
        assert (check["ok"], check["exit_code"]) == (False, 25)
        assert f"1 object could not be checked in 3 or more passes in a row: '{BROKEN}' in 3 (" in check["detail"]
        assert "lemmy-safety unreadable" in check["fix"]
        recheck = call("recheck", "--unreadable")
        assert (recheck.exit_code, "to be tried again" in recheck.stdout) == (25, True)
        refused.clear()
        assert call("recheck", "--unreadable").exit_code == 0
        assert call("--all").exit_code == 0
        assert faults_of_objects(call) == []


def test_a_flag_does_not_hide_what_could_not_be_checked(call, monkeypatch, tmp_path) -> None:
    """A code for flags is for passes that checked everything."""
    with server_that_refuses(monkeypatch, tmp_path, {"canary.png": canary_png()}):
        result = call("--all", "--dry-run", "--json", "--exit-code-flagged", "9")
        summary = json.loads(result.stdout)
        assert (result.exit_code, summary["flagged"], sum(summary["failed"].values())) == (25, 1, 1)
