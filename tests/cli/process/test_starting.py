"""Signals in the first moments of a process, while it is still importing what it needs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to a single process")

SWEEP, DAEMON, HOOK, DOCTOR = ("--all",), (), ("serve",), ("doctor",)
CODES = {SWEEP: 130, DAEMON: 0, HOOK: 0, DOCTOR: 130}

#: Modules in the order in which they are imported: right after the handlers, click, the command line, the settings, and
#: what takes longest.
FIRST, *_ = MOMENTS = (
    "lemmy_safety.cli.process.streams",
    "click",
    "lemmy_safety.settings",
    "sqlalchemy",
    "lemmy_safety.wiring",
)


def _environment(store):
    # PYTHONPROFILEIMPORTTIME has Python write a line for each module that has just been imported.
    return {"PICTRS_FILES_DIRECTORY": str(store.folder), "DETECTORS": "hashes", "PYTHONPROFILEIMPORTTIME": "1"}


def _wait_for_import(process, module):
    for line in process.stderr:
        if line.startswith("import time:") and line.rpartition("|")[2].strip() == module:
            return
    raise AssertionError(f"the process ended before it imported {module}")


def _ended(process):
    """The exit code, what was printed to stderr apart from the imports, and the seconds it took."""
    asked = time.monotonic()
    _, errors = process.communicate(timeout=60)
    told = "\n".join(line for line in errors.splitlines() if not line.startswith("import time:"))
    return process.returncode, told, time.monotonic() - asked


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("module", MOMENTS)
@pytest.mark.parametrize("args", [SWEEP, DAEMON], ids=["sweep", "daemon"])
def test_a_signal_during_the_start_ends_it_with_the_code_of_its_command(command, store, args, module, number):
    """Whatever is being imported: the daemon ends with 0, a sweep with 130, and no traceback is shown."""
    process = command(*args, env=_environment(store))
    _wait_for_import(process, module)
    process.send_signal(number)
    code, told, seconds = _ended(process)
    assert code == CODES[args]
    assert "Traceback" not in told
    assert seconds < 5


@pytest.mark.parametrize("args", [HOOK, DOCTOR], ids=["serve", "doctor"])
def test_every_command_heeds_a_signal_during_its_start(command, store, args):
    """Also the hook, which is a service, and a command that takes a while and is none."""
    process = command(*args, env=_environment(store))
    _wait_for_import(process, "lemmy_safety.wiring")
    process.send_signal(signal.SIGTERM)
    code, told, seconds = _ended(process)
    assert code == CODES[args]
    assert "Traceback" not in told
    assert seconds < 5


def test_a_second_signal_during_the_start_ends_at_once(command, store):
    """The first one is kept until it is known what is started; the next one waits for nothing."""
    process = command("--all", env=_environment(store))
    _wait_for_import(process, FIRST)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert _ended(process)[0] == 130


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.sampled_from([signal.SIGTERM, signal.SIGINT]), imports=st.integers(min_value=0, max_value=400))
def test_there_is_no_moment_at_which_a_signal_is_lost(command, store, number, imports):
    """After any number of imports, a daemon ends with 0 within seconds."""
    process = command(env=_environment(store))
    _wait_for_import(process, FIRST)
    for _ in range(imports):
        process.stderr.readline()
    process.send_signal(number)
    code, told, seconds = _ended(process)
    assert code == 0
    assert "Traceback" not in told
    assert seconds < 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("place", ["a generator that is closed", "a weak reference's callback", "__del__"])
def test_a_signal_where_python_forgets_exceptions_still_interrupts_the_command(command, place, number):
    """Python prints an exception from there and goes on; the command must end all the same, and without a traceback."""
    code = (
        "import os, signal, threading, weakref\n"
        "from lemmy_safety.cli.process.starting import START_UP\n"
        "START_UP.begin()\n"
        "START_UP.interrupts()\n"
        "def ask(*_):\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "def pictures():\n"
        "    try:\n"
        "        yield\n"
        "    finally:\n"
        "        ask()\n"
        "class Picture:\n"
        "    pass\n"
        "class Last:\n"
        "    __del__ = ask\n"
        "places = {\n"
        "    'a generator that is closed': pictures,\n"
        '    "a weak reference\'s callback": Picture,\n'
        "    '__del__': Last,\n"
        "}\n"
        f"held = places[{place!r}]()\n"
        "if isinstance(held, Picture):\n"
        "    watched = weakref.ref(held, ask)\n"
        "elif not isinstance(held, Last):\n"
        "    next(held)\n"
        "try:\n"
        "    del held\n"
        "    print('went on', flush=True)\n"
        "    threading.Event().wait(30)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    out, errors = command(code=code).communicate(timeout=60)
    assert out.splitlines()[-1] == "interrupted"
    assert errors == ""


def test_a_signal_that_is_ignored_on_purpose_stays_ignored(command, store):
    """Under ``nohup`` a terminal that goes away is no reason to stop, also during the start."""
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "sys.argv[1:] = ['--all']\n"
        "from lemmy_safety.cli import main\n"
        "main()\n"
    )
    process = command(code=code, env=_environment(store))
    _wait_for_import(process, "click")
    process.send_signal(signal.SIGHUP)
    assert _ended(process)[0] == 0
    assert store.present() == store.pictures


@pytest.fixture
def first_process(store):
    """Start a command as the first process (PID 1) of a PID namespace, as a container engine without ``init`` does."""
    unshare = shutil.which("unshare")
    rights = [] if hasattr(os, "geteuid") and os.geteuid() == 0 else ["--user", "--map-root-user"]
    begin = [str(unshare), *rights, "--pid", "--fork", "--kill-child"]
    if unshare is None or subprocess.run([*begin, "true"], check=False, capture_output=True).returncode:
        reason = "this system makes no PID namespace (unshare --pid)"
        pytest.fail(reason) if os.environ.get("CI") == "true" and sys.platform == "linux" else pytest.skip(reason)
    started = []

    def start(*args):
        outer = subprocess.Popen(
            [*begin, sys.executable, "-m", "lemmy_safety", *args],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **_environment(store)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(outer)
        return outer

    yield start
    for outer in started:
        outer.kill()
        outer.communicate()


@pytest.mark.parametrize("module", [FIRST, "click", "lemmy_safety.wiring"])
@pytest.mark.parametrize("args", [DAEMON, HOOK, DOCTOR], ids=["daemon", "serve", "doctor"])
def test_the_first_process_of_a_container_heeds_sigterm_from_its_start(first_process, args, module):
    """The kernel drops signals that PID 1 has no handler for; without one the container would be killed in the end."""
    outer = first_process(*args)
    _wait_for_import(outer, module)
    (inner,) = psutil.Process(outer.pid).children()
    inner.send_signal(signal.SIGTERM)
    code, told, seconds = _ended(outer)
    assert code == CODES[args]
    assert "Traceback" not in told
    assert seconds < 5


def _handles_sigterm(process):
    """Whether the process has a handler for SIGTERM, as the kernel knows it; Python itself has one for SIGINT only."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    "args", [pytest.param(DAEMON, id="daemon"), pytest.param(DOCTOR, id="doctor", marks=pytest.mark.slow)]
)
def test_ctrl_c_at_any_moment_of_the_first_400_ms_is_answered_cleanly(command, store, args):
    """Every 8 ms from the very start: from the moment that we have handlers no traceback, and the command's own code.

    Before that it is Python's own start, which no program can change; ``test_nothing_slow...`` holds what we add to it.
    """
    environment = _environment(store)
    del environment["PYTHONPROFILEIMPORTTIME"]
    answered = 0
    for after_ms in range(0, 400, 8):
        process = command(*args, env=environment)
        time.sleep(after_ms / 1000)  # the moment itself is what is tried
        ours = process.poll() is None and _handles_sigterm(process)
        process.send_signal(signal.SIGINT)
        code, told, seconds = _ended(process)
        if ours:
            answered += 1
            assert "Traceback" not in told
            # doctor may have been done already.
            assert code == CODES[args] or (args == DOCTOR and code == 0)
            assert seconds < 5
    assert answered >= 25


def test_nothing_slow_is_imported_before_the_handlers_are_there(command):
    """What Python has not loaded by then itself: the package, and the module for signals with what it needs."""
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import signal\n"
        "signal.signal = lambda *_: (print(*sorted(set(sys.modules) - before)), sys.exit())\n"
        "sys.argv[1:] = ['--all']\n"
        "from lemmy_safety.cli import main\n"
        "main()\n"
    )
    out, errors = command(code=code).communicate(timeout=60)
    loaded = {name for name in out.split() if not name.startswith("lemmy_safety")}
    assert loaded <= {"__future__", "signal", "enum", "_signal", "types", "operator", "_operator", "functools"}, errors
    assert "lemmy_safety.cli.process.starting" in out
    assert "lemmy_safety.cli.process.streams" not in out
