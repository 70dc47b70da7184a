"""A child ends with the program that started it, whatever it does: real processes, killed as the system kills them."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from lemmy_safety.lifeline import Lifeline

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")

#: A child in one of the states that matter; it says when it is there.
CHILD = """
import ctypes, re, sys, threading, time
from lemmy_safety.lifeline import end_with
end_with({number})
print("here", flush=True)
{work}
"""
WORK = {
    "pure Python": "while True: pass",
    "asleep": "time.sleep(3600)",
    "in native code that holds the interpreter": "ctypes.PyDLL(None).sleep(3600)",
    "in a regular expression": "re.match(r'(?:a|a)*b', 'a' * 60)",
    "waiting for a thread": "threading.Event().wait()",
}
#: A program that starts such a child, says which process it is, and waits to be killed.
PROGRAM = """
import subprocess, sys, threading
from lemmy_safety.lifeline import Lifeline
line = Lifeline()
code = {child!r}.replace("{{number}}", str(line.number))
child = subprocess.Popen([sys.executable, "-c", code], pass_fds=line.inherited, stdout=subprocess.PIPE, text=True)
line.hand_over()
child.stdout.readline()
print(child.pid, flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("state", WORK)
def test_a_child_ends_when_its_program_is_killed(state):
    """At once, and not when it next runs Python."""
    child = CHILD.replace("{work}", WORK[state])
    command = [sys.executable, "-c", PROGRAM.format(child=child)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        process = psutil.Process(int(program.stdout.readline()))
        assert process.is_running()
        program.kill()
    assert psutil.wait_procs([process], timeout=20)[1] == []


def test_a_child_whose_program_ended_before_it_was_tied_ends_as_well():
    """The pipe may be closed already when the child gets to it."""
    line = Lifeline()
    code = CHILD.replace("{number}", str(line.number)).replace("{work}", "import time; time.sleep(3600)")
    late = "import sys; sys.stdin.readline()\n"
    with subprocess.Popen(
        [sys.executable, "-c", late + code], pass_fds=line.inherited, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        line.hand_over()
        line.cut()
        child.stdin.write(b"go on\n")
        child.stdin.close()
        assert child.wait(20) == 1
        assert child.stdout.read() == b""


def test_a_child_lives_as_long_as_its_program_holds_the_line():
    """Nothing but the end of the line ends it, and cutting it twice is fine."""
    line = Lifeline()
    code = CHILD.replace("{number}", str(line.number)).replace(
        "{work}", "print(sys.stdin.readline(), flush=True)\nwhile 1: pass"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], pass_fds=line.inherited, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        line.hand_over()
        assert child.stdout.readline() == "here\n"
        child.stdin.write("still there\n")
        child.stdin.flush()
        assert child.stdout.readline() == "still there\n"
        assert child.poll() is None
        line.cut()
        line.cut()
        assert child.wait(20) != 0
