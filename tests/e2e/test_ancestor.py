"""Drop-in: the ancestor's .env and its database, used as they are."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

from support.admin import Admin
from support.ledger.legacy import write_ancestor_database
from support.scan.passes import keys_in, put
from support.storage.sample_store import sample_pictures

from lemmy_safety.detectors.hashes.canary import canary_png

#: Earlier than what ``write_ancestor_database`` gives as the time of judgement.
BEFORE_ANCESTOR = datetime(2023, 1, 1, tzinfo=UTC)

#: The ancestor's env_example had all of its names in it, whichever storage was used.
ENV = """\
OBJECT_STORAGE_ENDPOINT="https://eu2.example.com"  # Object Storage
PICTRS_BUCKET="pictrs"
AWS_ACCESS_KEY_ID=key
AWS_SECRET_ACCESS_KEY=secret
AWS_DEFAULT_REGION=auto
SSH_HOSTNAME="127.0.0.1"
SSH_PORT=22
SSH_USERNAME="root"
SSH_PRIVKEY="/home/username/.ssh/id_rsa"
PICTRS_FILES_DIRECTORY="{root}"  # Remote/Local Storage
PICTRS_SAFETY_URL="http://lemmy.example.com:14051"
PICTRS_SAFETY_APIKEY="abcdefg12345"
USE_NEW_SAFETY=true
SQLITE_FILENAME=old/lemmy_safety.db
"""


def test_the_ancestors_env_and_database_work_unchanged(tmp_path):
    """Its rows still dedup, its finds are listed as acted-on unknown, and only new objects are read."""
    root = tmp_path / "files"
    pictures = dict(sample_pictures(12, seed=5))
    for key, data in pictures.items():
        put(root, key, data, modified_at=BEFORE_ANCESTOR)
    put(root, "2/7/7/canary", canary_png())
    seen = sorted(pictures)[:8]
    (tmp_path / "old").mkdir()
    (tmp_path / ".env").write_text(ENV.format(root=root))
    write_ancestor_database(
        tmp_path / "old" / "lemmy_safety.db",
        [(key, False, False) for key in seen[:6]]
        + [(seen[6], True, True), ("2/0/0/long-gone", True, True), (seen[7], None, None)],
    )
    admin = Admin(tmp_path, {"LEMMY_SAFETY_DETECTORS": "hashes"})

    listed = {row["key"]: row for row in admin.json("flagged")}
    assert set(listed) == {seen[6], "2/0/0/long-gone"}
    assert {row["action_state"] for row in listed.values()} == {"unknown"}

    refused = admin.run("--all", code=3)  # s3 and ssh are both filled in, as in the ancestor's example
    assert "--storage" in refused.stderr

    summary = admin.json("--all", "--storage", "local")
    assert (summary["seen"], summary["skipped"]) == (13, 7)  # the one with csam NULL was never judged
    assert (summary["checked"], summary["flagged"], summary["acted"]) == (6, 1, 1)
    assert keys_in(root) == set(pictures)

    # The one it flagged and that is still there is the very object it judged: it has not been modified since.
    admin.run("delete-flagged", "--yes", "--storage", "local")
    assert keys_in(root) == set(pictures) - {seen[6]}
    assert admin.json("flagged") == []
    with sqlite3.connect(tmp_path / "old" / "lemmy_safety.db") as db:
        assert db.execute("SELECT count(*) FROM images").fetchone()[0] >= len(pictures) + 1
    db.close()
