"""What an admin gets for a wrong setting, on real servers: one line and its fix, a code of its own, nothing recorded."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from support.admin import Admin
from support.scan.passes import put
from support.storage.sample_store import sample_pictures

from lemmy_safety.detectors.hashes.canary import canary_png


def refused(admin: Admin, code: int, *said: str) -> None:
    """``--all`` ends with ``code``, says what and how to fix it, shows no secret and no traceback, records nothing."""
    done = admin.run("--all", code=code)
    assert done.stderr.count("error: ") == 1, done.stderr
    assert "fix: " in done.stderr
    assert "Traceback" not in done.stderr
    for text in said:
        assert text in done.stderr
    for name in ("AWS_SECRET_ACCESS_KEY", "SSH_PASSPHRASE"):
        if admin.env.get(name):
            assert admin.env[name] not in done.stderr + done.stdout
    database = admin.folder / "lemmy_safety.db"
    if database.exists():
        db = sqlite3.connect(database)
        assert db.execute("SELECT count(*) FROM images").fetchone() == (0,)
        db.close()


@pytest.mark.external_service
@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret-0815"}, 13, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "test:nobody"}, 13, "AWS_ACCESS_KEY_ID"),
        ({"PICTRS_BUCKET": "no-such-bucket"}, 14, "no-such-bucket"),
        ({"OBJECT_STORAGE_ENDPOINT": "http://127.0.0.1:9"}, 11, "127.0.0.1:9"),
        ({"OBJECT_STORAGE_ENDPOINT": "http://no-such-host.invalid"}, 15, "no-such-host.invalid"),
    ],
)
def test_a_wrong_s3_setting_is_one_line_with_its_fix(admin_on_s3, change, code, said):
    """Wrong key, wrong secret, no bucket, no one there, no such host: five lines, four codes."""
    admin, bucket = admin_on_s3
    bucket.put("a.png", canary_png())
    admin.env |= change
    refused(admin, code, said)


@pytest.mark.external_service
def test_a_host_key_that_nobody_vouched_for_is_refused_with_the_exact_fix(admin_on_ssh):
    """Unknown: the ssh-keyscan line to run; changed: a warning of its own; neither is ever trusted silently."""
    admin, store = admin_on_ssh("ssh")
    store.put("a.png", canary_png())
    known_hosts = Path(admin.env["SSH_KNOWN_HOSTS"])
    good = known_hosts.read_text()
    try:
        known_hosts.write_text("")
        refused(admin, 16, "ssh-keyscan", admin.env["SSH_PORT"])
        other = good.split()
        other[2] = "AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
        known_hosts.write_text(" ".join(other) + "\n")
        refused(admin, 17, "127.0.0.1")
    finally:
        known_hosts.write_text(good)


@pytest.mark.external_service
def test_a_wrong_ssh_setting_is_one_line_with_its_fix(admin_on_ssh):
    """A locked key without its passphrase, another key, no folder, no one there, no such host."""
    from support.servers.sshd import client_key  # noqa: PLC0415 - paramiko, only for those who need it

    admin, store = admin_on_ssh("ssh")
    store.put("a.png", canary_png())
    good = dict(admin.env)
    for change, code, said in (
        ({"SSH_PRIVKEY": str(client_key("ed25519-locked"))}, 18, "SSH_PASSPHRASE"),
        ({"SSH_PRIVKEY": str(client_key("ed25519-locked")), "SSH_PASSPHRASE": "wrong-4711"}, 18, "passphrase"),
        ({"SSH_PRIVKEY": "/nowhere/id"}, 18, "/nowhere/id"),
        ({"SSH_PRIVKEY": str(client_key("ecdsa"))}, 13, good["SSH_USERNAME"]),
        ({"PICTRS_FILES_DIRECTORY": "/no/such/folder"}, 14, "/no/such/folder"),
        ({"SSH_PORT": "9"}, 11, "9"),
        ({"SSH_HOSTNAME": "no-such-host.invalid"}, 15, "no-such-host.invalid"),
    ):
        admin.env = good | change
        refused(admin, code, said)


def test_a_database_that_cannot_be_used_is_refused_before_anything_is_deleted(tmp_path):
    """Newer, no database at all, held by another process: the canary is still there afterwards."""
    root = tmp_path / "files"
    put(root, "canary.png", canary_png())
    admin = Admin(tmp_path, {"PICTRS_FILES_DIRECTORY": str(root), "LEMMY_SAFETY_DETECTORS": "hashes"})
    database = tmp_path / "lemmy_safety.db"

    admin.run("db", "upgrade")
    db = sqlite3.connect(database)
    db.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
    db.commit()
    assert "error: " in admin.run("--all", code=51).stderr
    db.execute("UPDATE alembic_version SET version_num = (SELECT version_num FROM alembic_version)")
    db.rollback()
    db.close()

    database.write_text("no database\n" * 100)
    for leftover in tmp_path.glob("lemmy_safety.db-*"):
        leftover.unlink()
    assert "error: " in admin.run("--all", code=55).stderr
    database.unlink()

    admin.run("db", "upgrade")
    holder = sqlite3.connect(database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert "error: " in admin.run("--all", code=52).stderr
    holder.execute("ROLLBACK")
    holder.close()

    assert (root / "canary.png").exists()
    admin.run("--all")
    assert not (root / "canary.png").exists()


def test_weights_that_cannot_be_had_end_the_sweep_with_the_three_ways_out(tmp_path):
    """clip is asked for by default: without its weights nothing runs with less, and nothing is recorded."""
    pytest.importorskip("open_clip", reason="THE clip EXTRA IS NOT INSTALLED: its refusal was not tested")
    root = tmp_path / "files"
    for key, data in sample_pictures(2, seed=1):
        put(root, key, data)
    wrong = tmp_path / "weights.safetensors"
    wrong.write_bytes(b"these are no weights" * 100)
    admin = Admin(tmp_path, {"PICTRS_FILES_DIRECTORY": str(root), "HF_HUB_OFFLINE": "1"})
    done = admin.run("--all", code=41)
    assert "CLIP_WEIGHTS" in done.stderr
    assert "Traceback" not in done.stderr
    admin.env["CLIP_WEIGHTS"] = str(wrong)
    refused(admin, 42, str(wrong), "ViT-L-14")
