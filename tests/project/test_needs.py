"""What `make quick` leaves out is found in the code of the tests, and what is not found fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.admin import Admin
from support.media.files import png_of_16_bits
from support.needs import NOT_QUICK, left_out, marks_of
from support.servers.sshd import client_key, open_backend
from support.web.hook import serve

from lemmy_safety.detectors.nudenet import NudenetDetector

ROOT = Path(__file__).resolve().parents[2]

_UNMARKED = """
import os
import pytest
from support.needs import needs

def test_that_starts_a_program():
    os.system("exit 0")

@pytest.fixture
@needs("process")
def started():
    pass

def test_that_says_so(started):
    assert False
"""


def starts_a_server():
    with open_backend("ssh"):
        pass


def loads_a_model():
    return NudenetDetector()


def answers_uploads():
    serve()


def makes_a_picture():
    return png_of_16_bits


class OfASubclass(Admin):
    pass


@pytest.mark.parametrize(
    ("code", "marks"),
    [
        (starts_a_server, {"process"}),
        (loads_a_model, {"model"}),
        (OfASubclass, {"process"}),
        (client_key, {"process"}),
        (answers_uploads, {"server"}),
        (lambda: [starts_a_server() for _ in range(2)], {"process"}),
        (makes_a_picture, set()),
    ],
    ids=["a server", "a model", "a base class", "a cached function", "a thread", "in a comprehension", "neither"],
)
def test_marks_are_found_through_helpers(code, marks):
    """However many functions and modules of the tests are between."""
    assert marks_of([code]) == marks


def test_a_test_that_starts_a_program_without_the_mark_fails(tmp_path):
    """So no server and no other program gets into `make quick` unnoticed."""
    file = tmp_path / "test_unmarked.py"
    file.write_text(_UNMARKED)
    options = ["--rootdir", tmp_path, "-m", "not process"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-c", ROOT / "pyproject.toml", *options, file],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 1 deselected" in done.stdout, done.stdout + done.stderr
    assert "it starts programs" in done.stdout


def test_make_quick_leaves_out_what_has_such_a_mark():
    """These marks, and no other."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f'-m "not ({" or ".join(NOT_QUICK)})"' in makefile


@pytest.mark.parametrize(
    ("expression", "expected"), [("not (server or model)", True), ("model", False), ("not slow", False), ("", False)]
)
def test_it_is_known_whether_models_are_left_out(expression, expected):
    """Tests of models alone, by ``-m model``, must find them."""
    assert left_out("model", expression) is expected
