"""kill -9 at random moments of a sweep with deletions, over and over on one database: nothing is lost or done wrong."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys

import pytest
from support.admin import Admin
from support.scan.passes import keys_in, put
from support.storage.sample_store import sample_pictures

from lemmy_safety.detectors.hashes.canary import canary_png

#: The suite's short form; SWEEP_KILLS=50 is the long one.
KILLS = int(os.environ.get("SWEEP_KILLS", "6"))
OBJECTS = 1200
CANARIES = 120

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL"),
    pytest.mark.timeout(1200),
]


def test_every_promise_survives_kill_9(tmp_path):
    """After any number of kills and one full run: one verdict an object, every flagged object gone, no other."""
    rng = random.Random(20261120)
    root = tmp_path / "files"
    canary = canary_png()
    flagged, others = set(), set()
    for number, (key, data) in enumerate(sample_pictures(OBJECTS, seed=11, max_side=160)):
        if number % (OBJECTS // CANARIES) == 5:
            put(root, key, canary + b"\0" * number)  # trailing bytes: other digests, so that none is a known copy
            flagged.add(key)
        else:
            put(root, key, data)
            others.add(key)
    admin = Admin(
        tmp_path,
        {
            "PICTRS_FILES_DIRECTORY": str(root),
            "LEMMY_SAFETY_DETECTORS": "hashes",
            "LEMMY_SAFETY_THREADS": "4",
            # More than a person would let it delete without a look.
            "LEMMY_SAFETY_MAX_FIRST_ACTIONS": "1000",
            "LEMMY_SAFETY_MAX_ACTIONS_PER_DAY": "1000",
            "LEMMY_SAFETY_MAX_ACTION_SHARE": "100",
        },
    )
    killed = 0
    longest = 4.0
    while killed < KILLS:
        process = admin.start("--all")
        try:
            process.wait(rng.uniform(0.2, longest))
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
            assert process.wait() == -9
        else:
            assert process.returncode == 0, admin.log()
            # All done before the kill: make work again, and kill sooner.
            longest = max(1.0, longest * 0.8)
            for key in rng.sample(sorted(flagged), 30):
                put(root, key, canary + rng.randbytes(16))
        assert others <= keys_in(root)

    admin.run("--all")
    assert keys_in(root) == others
    with sqlite3.connect(tmp_path / "lemmy_safety.db") as db:
        rows = db.execute(
            "SELECT key, status, outcome, actions.state FROM images LEFT JOIN actions ON actions.id = images.action_id"
        ).fetchall()
    assert len(rows) == len({row[0] for row in rows}) == OBJECTS
    assert {row[0] for row in rows} == flagged | others
    for key, status, outcome, action in rows:
        if key in flagged:
            assert (status, outcome, action) == ("checked", "flagged", "done"), key
        else:
            assert (status, outcome, action) == ("checked", "clear", None), key
    db.close()
