"""The directions docs/architecture.md draws: who imports whom, who reads the environment, who speaks."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "lemmy_safety"
MODULES = sorted(PACKAGE.rglob("*.py"))

#: Each costs 50 ms to several seconds to import; a door must answer before any of them is needed.
HEAVY = {
    "alembic",
    "av",
    "boto3",
    "botocore",
    "cv2",
    "fastapi",
    "horde_safety",
    "numpy",
    "nudenet",
    "onnxruntime",
    "openvino",
    "open_clip",
    "paramiko",
    "pdqhash",
    "PIL",
    "prometheus_client",
    "pydantic",
    "sqlalchemy",
    "torch",
    "torchvision",
    "transformers",
}


def test_imports_keep_their_directions():
    """The import contracts of pyproject.toml hold: layers, settings, vendor libraries."""
    program = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def modules_loaded_by(program: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport json, sys\nprint('\\n' + json.dumps(sorted(sys.modules)))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def packages_loaded_by(program: str) -> set[str]:
    return {name.partition(".")[0] for name in modules_loaded_by(program)}


@pytest.mark.parametrize("module", ["cli", "settings", "records", "errors", "storage.base", "detectors.base"])
def test_contracts_and_the_door_load_nothing_heavy(module):
    """Importing the command line or a room's contract loads no vendor library."""
    loaded = packages_loaded_by(f"import lemmy_safety.{module}")
    assert "lemmy_safety" in loaded
    assert not loaded & HEAVY


def test_help_loads_nothing_heavy():
    """lemmy-safety --help prints its text without loading a vendor library."""
    program = (
        "import contextlib, sys\n"
        "from lemmy_safety.cli import main\n"
        "sys.argv = ['lemmy-safety', '--help']\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main()\n"
    )
    assert not packages_loaded_by(program) & HEAVY


#: What a room gets as an object from the wiring; importing the room must not bring it along.
HANDED_IN = ("settings", "wiring", "storage.local", "storage.s3", "storage.ssh", "detectors.clip", "media.decoding")


@pytest.mark.parametrize(("room", "also"), [("scan", "actions"), ("actions", "scan"), ("policy", "ledger")])
def test_rooms_are_handed_their_neighbours(room, also):
    """Importing a room that works on others' objects loads neither these others nor settings."""
    loaded = modules_loaded_by(f"import lemmy_safety.{room}")
    assert f"lemmy_safety.{room}" in loaded
    assert not loaded & {f"lemmy_safety.{other}" for other in (*HANDED_IN, also)}


def names_used(tree: ast.AST, *, skip: frozenset[int] = frozenset()) -> set[str]:
    """Dotted names such as ``sys.stdout``, and imported ones such as ``os.getenv``; ``skip`` holds ids of nodes."""
    used = set()
    for node in ast.walk(tree):
        if id(node) in skip:
            continue
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used.add(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.ImportFrom) and node.module:
            used.update(f"{node.module}.{alias.name}" for alias in node.names)
    return used


def reads_environment(tree: ast.AST) -> bool:
    """Whether os.environ is read; switching on something in a library by ``os.environ.setdefault`` is no reading."""
    switched = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "setdefault" and isinstance(node.value, ast.Attribute)
    }
    readers = {"os.environ", "os.environb", "os.getenv", "os.getenvb"}
    return bool(names_used(tree, skip=frozenset(switched)) & readers)


@pytest.mark.long
def test_only_settings_read_the_environment():
    """No module but settings/loading.py, except for decoders' environment, the spelling of proxies' variables, and HOME."""
    readers = [
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        if reads_environment(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert sorted(readers) == ["home.py", "media/workers/environment.py", "proxies.py", "settings/loading.py"]


#: A program of its own, which its caller reads.
PROGRAMS = {"detectors/clip/encoders/openvino_build.py"}


@pytest.mark.long
def test_only_the_command_line_prints():
    """No module outside cli/ calls print or writes to the standard streams."""
    speakers = []
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        if "print" in calls or names_used(tree) & {"sys.stdout", "sys.stderr"}:
            speakers.append(path.relative_to(PACKAGE).as_posix())
    assert {speaker for speaker in speakers if not speaker.startswith("cli/")} <= PROGRAMS


@pytest.mark.long
def test_no_temporary_files():
    """Nothing imports tempfile but the demo (its own sample store) and the caches of models: no image does."""
    users = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            plain = isinstance(node, ast.Import) and any(alias.name == "tempfile" for alias in node.names)
            if plain or (isinstance(node, ast.ImportFrom) and node.module == "tempfile"):
                users.add(path.relative_to(PACKAGE).as_posix())
    assert {user for user in users if not user.startswith("cli/commands/demo")} <= {
        "detectors/clip/encoders/openvino.py",
        "detectors/clip/encoders/text_features.py",
    }
