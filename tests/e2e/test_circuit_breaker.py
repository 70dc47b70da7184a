"""The circuit breaker as an admin meets it: real processes that share a database."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys

import pytest
from support.admin import Admin
from support.scan.passes import keys_in, put
from support.storage.sample_store import sample_pictures

from lemmy_safety.detectors.hashes.canary import canary_png

#: The suite's short form; BREAKER_KILLS=50 is the long one.
KILLS = int(os.environ.get("BREAKER_KILLS", "5"))

TRIPPED = 62


def fill(root, flagged: int, others: int) -> set[str]:
    """Pictures, some of them the canary with different bytes behind it; the keys of those."""
    canary, keys = canary_png(), set()
    for number, (key, data) in enumerate(sample_pictures(flagged + others, seed=5, max_side=96)):
        put(root, key, canary + b"\0" * number if number < flagged else data)
        if number < flagged:
            keys.add(key)
    return keys


def admin_of(folder, root, **more: str) -> Admin:
    settings = {f"LEMMY_SAFETY_{name}": value for name, value in more.items()}
    return Admin(
        folder,
        {
            "PICTRS_FILES_DIRECTORY": str(root),
            "SQLITE_FILENAME": str(folder / "ledger.db"),
            "LEMMY_SAFETY_DETECTORS": "hashes",
            **settings,
        },
    )


def test_a_first_sweep_deletes_twenty_and_waits_for_a_person(tmp_path):
    """The rest is listed; a dry look, a resume and a pass finish it. What was flagged after the resume is not approved."""
    root = tmp_path / "files"
    flagged = fill(root, 60, 40)
    admin = admin_of(tmp_path, root)
    first = admin.json("--all", code=TRIPPED)
    assert (first["flagged"], first["acted"], first["held"], first["flagged_by"]) == (60, 20, 40, {"hashes": 60})
    assert len(keys_in(root) & flagged) == 40
    assert admin.json("--all", code=TRIPPED)["held"] == 40
    assert "circuit breaker" in admin.run("doctor", code=TRIPPED).stdout
    assert "lemmy-safety resume" in admin.run("--all", code=TRIPPED).stderr

    looked = admin.json("resume")
    assert (looked["tripped"], looked["limit"], looked["waiting"], looked["approved"]) == (True, "first_actions", 40, 0)
    assert looked["by_label"] == {"hashes: canary": 40}
    admin.run("resume", code=60)  # no terminal to ask on
    assert len(keys_in(root) & flagged) == 40

    assert "40 actions approved" in admin.run("resume", "--yes").stdout
    put(root, "late.png", canary_png() + b"late")
    last = admin.json("--all")
    assert (last["acted"], last["held"]) == (41, 0)
    assert not keys_in(root) & flagged


def test_a_command_for_scripts_stays_under_the_limits(tmp_path):
    """``delete-flagged --yes`` is no person who has looked."""
    root = tmp_path / "files"
    flagged = fill(root, 30, 5)
    admin = admin_of(tmp_path, root, MAX_FIRST_ACTIONS="7")
    admin.run("--all", "--dry-run")
    done = json.loads(admin.run("delete-flagged", "--yes", "--json", code=TRIPPED).stdout)
    assert (done["done"], done["held"]) == (7, 23)
    assert len(keys_in(root) & flagged) == 23
    assert admin.run("resume", "--yes").stdout.startswith("23 actions approved")
    admin.run("delete-flagged", "--yes")
    assert not keys_in(root) & flagged


def test_processes_do_not_exceed_the_limits_together(tmp_path):
    """Sweeps of two storages and a command at once, on one database."""
    roots = [tmp_path / "one", tmp_path / "two"]
    limits = {"MAX_FIRST_ACTIONS": "1000", "MAX_ACTIONS_PER_DAY": "25", "MAX_ACTION_SHARE": "100"}
    admins = [admin_of(tmp_path, root, **limits) for root in roots]
    flagged = [fill(roots[0], 40, 5), set()]
    put(roots[1], "other.png", b"")
    for number in range(40):
        put(roots[1], f"k{number}.png", canary_png() + b"\1" * (number + 1))
    admins[0].run("--all", "--dry-run")
    processes = [
        subprocess.Popen(
            admin.command(*arguments), env=admin.environment(), cwd=tmp_path, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for admin, arguments in (
            (admins[0], ("delete-flagged", "--yes")),
            (admins[0], ("--all",)),
            (admins[1], ("--all",)),
        )
    ]  # fmt: skip
    ends = [(process.communicate()[0], process.returncode)[1] for process in processes]
    assert set(ends) == {TRIPPED}
    gone = 80 - len(keys_in(roots[0]) & flagged[0]) - len([key for key in keys_in(roots[1]) if key.startswith("k")])
    assert gone == 25


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.timeout(900)
def test_kill_9_around_it_loses_nothing_and_does_nothing_twice(tmp_path):
    """However often: never more than the limit, and after a resume everything is done once."""
    rng = random.Random(20261130)
    root = tmp_path / "files"
    flagged = fill(root, 60, 20)
    admin = admin_of(tmp_path, root, MAX_FIRST_ACTIONS="30", MAX_ACTION_SHARE="100")
    killed, longest = 0, 4.0
    while killed < KILLS:
        process = admin.start("--all")
        try:
            process.wait(rng.uniform(0.3, longest))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
        else:
            longest = max(1.0, longest * 0.8)
        assert len(keys_in(root) & flagged) >= 30
    admin.run("--all", code=TRIPPED)
    assert len(keys_in(root) & flagged) == 30
    admin.run("resume", "--yes")
    admin.run("--all")
    assert not keys_in(root) & flagged
    rows = json.loads(admin.run("flagged", "--all", "--json").stdout)
    assert {row["action_state"] for row in rows} == {"done"}
    assert len(rows) == 60


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
@pytest.mark.parametrize(("answer", "code", "left"), [(b"y\n", 0, 0), (b"n\n", TRIPPED, 3), (b"\x03", TRIPPED, 3)])
def test_on_a_real_terminal_the_question_has_a_line_of_its_own(tmp_path, answer, code, left):
    """No bar is drawn over it. Ctrl-C is a no."""
    import fcntl  # noqa: PLC0415 - POSIX only
    import pty  # noqa: PLC0415
    import termios  # noqa: PLC0415

    root = tmp_path / "files"
    flagged = fill(root, 3, 3)
    admin = admin_of(tmp_path, root)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        admin.command("--all"),
        env={**admin.environment(), "TERM": "xterm"},
        cwd=tmp_path,
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one thread
    )
    os.close(theirs)
    shown = b""
    while b"[y/N]: " not in shown:
        shown += os.read(ours, 4096)
    assert shown.endswith(b"Delete 3 objects now? [y/N]: ")
    os.write(ours, answer)
    with contextlib.suppress(OSError):  # Linux: the other end was closed
        while more := os.read(ours, 4096):
            shown += more
    assert process.wait(timeout=60) == code, shown
    os.close(ours)
    assert len(keys_in(root) & flagged) == left
