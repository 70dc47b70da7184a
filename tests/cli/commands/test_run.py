"""``lemmy-safety`` itself, as a person runs it: sweeps, the daemon, and stopping either."""

from __future__ import annotations

import json
import os
import re
import signal
import sys

import pytest

from lemmy_safety import errors
from lemmy_safety.cli.demo.pictures import sample_pictures
from lemmy_safety.detectors.hashes.canary import canary_png

posix_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to a single process")


def _environment(store, **more):
    return {"PICTRS_FILES_DIRECTORY": str(store.folder), "DETECTORS": "hashes", **more}


def _wait_for_line(process, text):
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"the process ended without {text!r}")


def test_a_dry_run_flags_and_deletes_nothing(call, store):
    """A dry run reports what it would do, points to the list, and leaves the storage as it was."""
    before = store.present()
    result = call("--all", "--dry_run")
    assert result.exit_code == 0
    assert re.search(r"flagged as possible +2\n", result.output)
    assert "lemmy-safety delete-flagged" in result.output
    assert store.present() == before == store.canaries | store.pictures


def test_a_sweep_deletes_what_is_flagged_and_nothing_else(call, store):
    """Without a dry run the canaries go; the second sweep reads nothing."""
    first = json.loads(call("--all", "--json").stdout)
    assert (first["seen"], first["checked"], first["flagged"], first["acted"]) == (5, 5, 2, 2)
    assert (first["complete"], first["stopped"], first["detectors"]) == (True, False, ["hashes"])
    assert store.present() == store.pictures
    second = json.loads(call("--all", "--json").stdout)
    assert (second["skipped"], second["checked"], second["bytes_read"]) == (3, 0, 0)


def test_a_sweep_that_deleted_says_what_pictrs_still_holds(call, store):
    """Said once, by the pass that deleted; not by a dry run, not by a pass that found nothing; JSON stays JSON."""
    said = "pict-rs does not know that 2 objects are gone"
    assert said not in call("--all", "--dry-run").output
    assert said in call("--all").output
    assert said not in call("--all").output
    for key in store.canaries:
        store.put(key, canary_png())
    assert json.loads(call("--all", "--json").stdout)["acted"] == 2


def test_the_exit_code_for_flagged_objects_can_be_chosen(call, store):
    """Scripts can ask for a code of their own; without one, handled objects are no failure."""
    assert call("--all", "--dry-run", "--exit-code-flagged", "9").exit_code == 9
    assert call("--all").exit_code == 0
    assert call("--all", "--exit-code-flagged", "9").exit_code == 0


def test_action_report_leaves_everything_in_place(call, store):
    """With --action report nothing is deleted, and the summary says how to go on."""
    result = call("--all", "--action", "report")
    assert "2 objects flagged and left alone" in result.output
    assert "A later pass with action delete deletes them." in result.output
    assert store.canaries <= store.present()


def test_action_report_holds_for_what_cannot_be_read_as_well(call, store, monkeypatch):
    """Anyone who wants nothing deleted has said so for all objects; without --action report the setting does what it says."""
    broken = store.folder / "broken.png"
    broken.write_bytes(b"no picture at all")
    os.utime(broken, (1_750_000_000, 1_750_000_000))
    monkeypatch.setenv("UNREADABLE_ACTION", "delete")
    assert call("--all", "--action", "report").exit_code == 0
    assert broken.exists()
    assert call("--all").exit_code == 0
    assert not broken.exists()


def test_only_keys_with_the_prefix_are_checked(call, store):
    """--prefix limits a sweep to part of the storage."""
    assert json.loads(call("--all", "--json", "--prefix", "01/bb/").stdout)["seen"] == 2
    assert store.present() == store.pictures | {"01/aa/canary.png"}


def test_settings_come_from_a_named_file(call, store, tmp_path, monkeypatch):
    """--env-file names the file that is read instead of .env, in both spellings."""
    monkeypatch.delenv("PICTRS_FILES_DIRECTORY")
    (tmp_path / "my.env").write_text(f"PICTRS_FILES_DIRECTORY='{store.folder.as_posix()}'\n", encoding="utf-8")
    assert call("--all", "--dry-run").exit_code == errors.SettingsError.exit_code
    assert call("--all", "--dry-run", "--env_file", "my.env").exit_code == 0
    assert call("--env-file", "my.env", "flagged").exit_code == 0


def test_a_missing_folder_is_one_line_and_its_own_code(call, store, monkeypatch):
    """A storage that does not exist is said in one line with its path, and nothing is recorded as checked."""
    monkeypatch.setenv("PICTRS_FILES_DIRECTORY", str(store.folder / "nowhere"))
    result = call("--all")
    assert result.exit_code == errors.StorageMissing.exit_code
    assert "nowhere" in result.output
    assert "Traceback" not in result.output
    assert json.loads(call("db", "stats", "--json").stdout)["objects"] == 0


def test_a_log_gets_lines_with_times_and_no_bar(command, store):
    """Where stderr is no terminal, a run writes log lines: no bar, no colours."""
    process = command("--all", env=_environment(store))
    output, errors_shown = process.communicate(timeout=60)
    assert process.returncode == 0
    assert " INFO lemmy_safety." in errors_shown
    assert "\x1b" not in output + errors_shown


@posix_signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_stopped_says_so(command, store, number):
    """The first signal ends a sweep with what it did, marked as stopped, and with the code of an interruption."""
    (_, picture), *_ = sample_pictures(1)
    for index in range(3000):  # more than any machine judges before the signal arrives; bytes differ, pixels do not
        store.put(f"2/{index}/picture", picture + index.to_bytes(2, "big"))
    process = command("--all", "--json", env=_environment(store))
    _wait_for_line(process, "sweep of local:")
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    summary = json.loads(output)
    assert (summary["stopped"], summary["complete"]) == (True, False)
    assert summary["checked"] < 3000


@posix_signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_daemon_stops_with_success(command, store, number):
    """A daemon that is asked to stop did its job: it ends with 0, as service managers expect."""
    process = command(env=_environment(store, LEMMY_SAFETY_INTERVAL_S="0.1"))
    _wait_for_line(process, "pass done")
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 0


@posix_signals
def test_a_second_signal_ends_at_once(command):
    """Anyone who presses Ctrl-C twice does not wait for anything."""
    code = (
        "import sys, time\n"
        "from lemmy_safety.cli.process.stopping import StopSignals\n"
        "with StopSignals() as signals:\n"
        "    print('ready', file=sys.stderr, flush=True)\n"
        "    signals.event.wait()\n"
        "    print('stopping', file=sys.stderr, flush=True)\n"
        "    while True:\n"
        "        time.sleep(1)\n"
    )
    process = command(code=code)
    _wait_for_line(process, "ready")
    process.send_signal(signal.SIGINT)
    _wait_for_line(process, "stopping")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130


def test_core_dumps_are_off_and_libraries_quiet_while_scanning(command):
    """A crash must not write memory, and with it a picture, to a disk; other libraries' chatter stays away."""
    pytest.importorskip("resource")
    code = (
        "import logging, os, resource\n"
        "from lemmy_safety.cli.output.logs import forbid_core_dumps, set_up_logging\n"
        "from lemmy_safety.cli.output.redaction import Redaction\n"
        "forbid_core_dumps()\n"
        "set_up_logging(debug=False, redaction=Redaction())\n"
        "set_up_logging(debug=False, redaction=Redaction())\n"
        "print(max(resource.getrlimit(resource.RLIMIT_CORE)) <= 1, os.environ['LOGURU_AUTOINIT'])\n"
        "logging.getLogger('paramiko.transport').error('chatter')\n"
        "logging.getLogger('lemmy_safety.scan').info('ours')\n"
    )
    output, shown = command(code=code).communicate(timeout=60)
    assert output.split() == ["True", "False"]
    assert shown.count("ours") == 1
    assert "chatter" not in shown


def test_secrets_never_reach_the_log(command):
    """What another library logs is blotted out like everything else, tracebacks included."""
    code = (
        "import logging\n"
        "from lemmy_safety.cli.output.logs import set_up_logging\n"
        "from lemmy_safety.cli.output.redaction import Redaction\n"
        "from lemmy_safety.settings import load_settings\n"
        "redaction = Redaction()\n"
        "redaction.learn(load_settings(environ={'AWS_SECRET_ACCESS_KEY': 'hunter2hunter2'}))\n"
        "set_up_logging(debug=True, redaction=redaction)\n"
        "try:\n    raise ValueError('key hunter2hunter2 refused')\n"
        "except ValueError:\n    logging.getLogger('lemmy_safety').exception('with %s', 'hunter2hunter2')\n"
    )
    _, shown = command(code=code).communicate(timeout=60)
    assert "hunter2" not in shown
    assert shown.count("(hidden)") == 2


def test_what_python_writes_by_itself_is_a_log_line_without_secrets(command):
    """A thread that ends with an error, and an error in a destructor, which no one can catch."""
    code = (
        "import threading\n"
        "from lemmy_safety.cli.output.logs import set_up_logging\n"
        "from lemmy_safety.cli.output.redaction import Redaction\n"
        "from lemmy_safety.cli.process.starting import START_UP\n"
        "from lemmy_safety.settings import load_settings\n"
        "START_UP.begin()\n"
        "redaction = Redaction()\n"
        "redaction.learn(load_settings(environ={'AWS_SECRET_ACCESS_KEY': 'hunter2hunter2'}))\n"
        "set_up_logging(debug=False, redaction=redaction)\n"
        "def fail(*_):\n    raise ValueError('key hunter2hunter2 refused')\n"
        "thread = threading.Thread(target=fail, name='walker')\nthread.start()\nthread.join()\n"
        "class Key:\n    __del__ = fail\n    __repr__ = lambda _: 'hunter2hunter2'\n"
        "key = Key()\ndel key\n"
    )
    process = command(code=code)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "the thread walker ended with an error" in shown
    assert shown.count("ValueError: key (hidden) refused") == 2
    assert "hunter2" not in shown
