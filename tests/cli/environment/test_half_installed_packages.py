"""Copies of real libraries from which files are missing, in processes of their own: what the program says of them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lemmy_safety.cli.checks import library_trial
from lemmy_safety.errors import MissingExtra, WorkerDied
from lemmy_safety.packages import ALWAYS_NEEDED, distribution_of, explained, imported

if TYPE_CHECKING:
    from collections.abc import Callable

AGAIN = "Install it again: pip install --force-reinstall {}"

CODE = MissingExtra.exit_code


@dataclass(frozen=True)
class Damage:
    """What is wrong with a copy: files that are gone (patterns), empty, or cut in half."""

    package: str
    gone: str = ""
    empty: str = ""
    cut: str = ""

    def __str__(self) -> str:
        return f"{self.package}-{self.gone or self.empty or self.cut}".replace("/", ".")


#: The pattern of compiled files.
COMPILED = "**/*.pyd" if sys.platform == "win32" else "**/*.so"


@pytest.fixture
def damaged(tmp_path) -> Callable[..., dict[str, str]]:
    """The environment of a process that finds a damaged copy of a library before the whole one, which stays untouched."""

    def make(damage: Damage) -> dict[str, str]:
        spec = importlib.util.find_spec(damage.package)
        assert spec is not None
        assert spec.origin is not None
        whole = Path(spec.origin).parent
        copy = tmp_path / "site" / damage.package
        shutil.copytree(whole, copy)
        libraries = whole.with_name(f"{distribution_of(damage.package)}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, copy.with_name(libraries.name))
        if damage.gone:
            found = list(copy.glob(damage.gone))
            assert found
            for path in found:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if damage.empty:
            (copy / damage.empty).write_bytes(b"")
        if damage.cut:
            (path,) = copy.glob(damage.cut)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return {"PYTHONPATH": os.pathsep.join([str(copy.parent), *sys.path])}

    return make


#: Each ends the import of the command line itself.
AT_THE_START = [
    Damage("click", empty="__init__.py"),
    Damage("click", gone="core.py"),
    Damage("click", cut="core.py"),
    Damage("click", empty="types.py"),
    Damage("dotenv", gone="[!_]*", empty="__init__.py"),
    Damage("dotenv", gone="parser.py"),
    Damage("dotenv", empty="parser.py"),
]


@pytest.mark.parametrize("damage", AT_THE_START, ids=str)
def test_what_every_command_imports_is_named_with_its_fix(command, damaged, damage):
    """No traceback: one line, the fix, and the code for packages."""
    process = command("--help", env=damaged(damage))
    out, errors = process.communicate(timeout=60)
    package = distribution_of(damage.package)
    error, fix = errors.splitlines()
    assert error.startswith(f"error: {package} is not installed completely (")
    assert fix == f"fix: {AGAIN.format(package)}"
    assert not out
    assert process.returncode == CODE


def test_every_library_that_help_imports_is_among_those_tried(command):
    """So that the tests of this file stay complete when the command line imports another one."""
    code = (
        "import sys\nbefore = set(sys.modules)\n"
        "import lemmy_safety.cli.app\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))\n"
    )
    out, _ = command(code=code).communicate(timeout=60)
    assert set(out.split()) - {"lemmy_safety"} == {damage.package for damage in AT_THE_START}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to a single process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_half_of_click_is_imported_shows_no_traceback(command, damaged, number):
    """The signal is kept until it is known how the start ends."""
    env = damaged(Damage("click", gone="utils.py")) | {"PYTHONPROFILEIMPORTTIME": "1"}
    process = command("--all", env=env)
    for line in process.stderr:
        if line.rpartition("|")[2].strip() == "lemmy_safety.cli.process.streams":
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    told = [line for line in errors.splitlines() if not line.startswith("import time:")]
    assert told[1:] == [f"fix: {AGAIN.format('click')}"]
    assert process.returncode == CODE


def test_a_start_that_fails_for_want_of_memory_says_so(capsys):
    """Nothing is wrong with a library then."""
    from lemmy_safety.cli.process.broken_start import code_of_broken_start  # noqa: PLC0415

    assert code_of_broken_start(MemoryError()) == WorkerDied.exit_code
    assert capsys.readouterr().err.startswith("error: There is not enough memory.\nfix: ")


def test_a_start_that_fails_for_a_reason_of_our_own_keeps_its_traceback(command):
    """It is a bug, and the traceback is what is to be reported."""
    code = (
        "import sys\nsys.modules['lemmy_safety.cli.commands.review'] = None\nsys.argv[1:] = ['--help']\n"
        "from lemmy_safety.cli import main\nmain()\n"
    )
    process = command(code=code)
    _, errors = process.communicate(timeout=60)
    assert "Traceback" in errors
    assert process.returncode == 1


S3 = {
    "OBJECT_STORAGE_ENDPOINT": "http://127.0.0.1:9",
    "PICTRS_BUCKET": "pictures",
    "AWS_ACCESS_KEY_ID": "an-access-key",
    "AWS_SECRET_ACCESS_KEY": "a-secret-key",
}

SSH = {
    "SSH_HOSTNAME": "127.0.0.1",
    "SSH_USERNAME": "pictrs",
    "SSH_PRIVKEY": "no-key",
    "PICTRS_FILES_DIRECTORY": "/files",
}

#: What is damaged, and the storage that is set up; None is a local folder.
IN_A_CHECK = [
    (Damage("psutil", gone=COMPILED), None),
    (Damage("botocore", empty="__init__.py"), S3),
    (Damage("botocore", gone="client.py"), S3),
    (Damage("boto3", gone="session.py"), S3),
    (Damage("urllib3", gone="connectionpool.py"), S3),
    (Damage("paramiko", empty="__init__.py"), SSH),
    (Damage("paramiko", gone="transport.py"), SSH),
    (Damage("cryptography", gone="hazmat"), SSH),
    (Damage("sqlalchemy", gone="sql"), None),
    (Damage("alembic", empty="__init__.py"), None),
    (Damage("PIL", gone="WebPImagePlugin.py"), None),
]


def _report(process) -> tuple[list[dict[str, object]], int]:
    out, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    return json.loads(out)["checks"], process.returncode


@pytest.mark.parametrize(("damage", "storage"), IN_A_CHECK, ids=[str(row[0]) for row in IN_A_CHECK])
def test_doctor_tells_a_damaged_library_once_and_checks_all_else(command, damaged, tmp_path, damage, storage):
    """One fault with its fix, and every area is there, also that of the library."""
    storage = storage or {"PICTRS_FILES_DIRECTORY": str(tmp_path)}
    env = damaged(damage) | storage | {"DETECTORS": "hashes", "SQLITE_FILENAME": str(tmp_path / "new.db")}
    checks, code = _report(command("doctor", "--quick", "--json", env=env))
    about = [check for check in checks if check["ok"] is False and check["exit_code"] == CODE]
    assert [check["fix"] for check in about] == [AGAIN.format(distribution_of(damage.package))]
    assert {check["area"] for check in checks} == {"Program", "Settings", "Storage", "Database", "Detectors"}
    assert code == CODE


@pytest.mark.parametrize("package", ["onnxruntime", "nudenet"])
def test_doctor_sees_an_empty_package_of_a_detector_without_loading_it(command, damaged, store, tmp_path, package):
    """Also with ``--quick``; the sweep would end with the same fault."""
    env = damaged(Damage(package, empty="__init__.py")) | {"PICTRS_FILES_DIRECTORY": str(store.folder)}
    env |= {"DETECTORS": "nudenet", "SQLITE_FILENAME": str(tmp_path / "new.db")}
    checks, code = _report(command("doctor", "--quick", "--json", env=env))
    (fault,) = [check for check in checks if check["ok"] is False]
    assert (fault["area"], fault["name"], fault["exit_code"], code) == ("Detectors", "nudenet", CODE, CODE)
    assert f"the first file of {package} is empty" in str(fault["detail"])


def test_a_compiled_module_that_does_not_load_is_named_by_its_package(command, damaged, store, tmp_path):
    """Python names the last part of the module only (``_imaging``), here because a shared library of pillow is gone."""
    env = damaged(Damage("PIL", empty="WebPImagePlugin.py"))
    shutil.rmtree(Path(env["PYTHONPATH"].split(os.pathsep)[0]) / "pillow.libs")
    env |= {"PICTRS_FILES_DIRECTORY": str(store.folder), "DETECTORS": "hashes"}
    out, errors = command("--all", env=env | {"SQLITE_FILENAME": str(tmp_path / "new.db")}).communicate(timeout=120)
    assert "pillow is not installed completely" in out + errors or "needs pillow, which is not" in out + errors
    assert AGAIN.format("pillow") in out + errors


DECODERS = [
    Damage("av", gone=COMPILED),
    Damage("av", empty="__init__.py"),
    Damage("numpy", gone=f"_core/{COMPILED}"),
    Damage("PIL", gone=COMPILED),
    Damage("pdqhash", gone=COMPILED),
]


@pytest.mark.parametrize("damage", DECODERS, ids=str)
@pytest.mark.parametrize("args", [("--all",), ("doctor", "--quick")], ids=" ".join)
def test_a_decoder_is_named_by_what_a_person_installs(command, damaged, store, damage, args):
    """Not by a module of its inside (``cython``, ``_core``); a pass does not begin, and ``doctor --quick`` sees it, too."""
    env = damaged(damage) | {"PICTRS_FILES_DIRECTORY": str(store.folder), "DETECTORS": "hashes"}
    process = command(*args, env=env | {"SQLITE_FILENAME": str(store.folder.with_name("new.db"))})
    out, errors = process.communicate(timeout=120)
    said = out + errors
    package = distribution_of(damage.package)
    assert said.count(f"fix: {AGAIN.format(package)}") == 1
    assert said.count("fix: ") == 1
    assert f"{package} is not installed completely" in said or f"needs {package}, which is not installed" in said
    assert process.returncode == CODE
    assert store.present() == store.pictures | store.canaries


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="what half a compiled file does is the system's choice"
)
def test_doctor_survives_a_compiled_file_of_which_only_half_is_there(command, damaged, store, tmp_path):
    """Importing it ends a process without a word. What needs it is not tried, so that doctor itself lives on."""
    env = damaged(Damage("av", cut="_core*.so")) | {"PICTRS_FILES_DIRECTORY": str(store.folder)}
    checks, code = _report(command("doctor", "--json", env=env | {"SQLITE_FILENAME": str(tmp_path / "new.db")}))
    (fault,) = [check for check in checks if check["ok"] is False]
    assert fault["fix"] == AGAIN.format("av")
    not_checked = {check["area"]: check["detail"] for check in checks if check["name"] == "not checked"}
    if "ends a process" in str(fault["detail"]):
        assert not_checked == dict.fromkeys(
            ("Upload hook", "Worker", "pict-rs", "Storage", "Database", "Detectors"), "first install av again"
        )
    assert code == CODE


@pytest.mark.parametrize("package", ["pillow_heif", "pillow_jxl"])
def test_doctor_names_a_decoder_of_an_extra(command, damaged, store, tmp_path, package):
    """Its format would be unreadable; nothing else is."""
    pytest.importorskip(package)
    env = damaged(Damage(package, empty="__init__.py")) | {"PICTRS_FILES_DIRECTORY": str(store.folder)}
    env |= {"DETECTORS": "hashes", "SQLITE_FILENAME": str(tmp_path / "new.db")}
    checks, _ = _report(command("doctor", "--quick", "--json", env=env))
    (fault,) = [check for check in checks if check["ok"] is False]
    assert fault["fix"] == AGAIN.format(distribution_of(package))


def test_a_module_that_only_the_inside_of_an_extra_has_is_damage_and_not_a_missing_package():
    """pip would answer that the extra is installed already."""
    pytest.importorskip("pillow_heif")
    for missing, damaged in (("_pillow_heif", True), ("pillow_heif", True), ("no_such_package", False)):
        names = ("pillow_heif",) if "heif" in missing else (missing,)
        with pytest.raises(MissingExtra) as caught, imported(*names, extra="heic", needed_for="HEIC"):
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        assert caught.value.damaged is damaged


def test_a_python_without_one_of_its_own_modules_is_named_as_that():
    """No package of ours would help."""
    told = explained(ModuleNotFoundError("No module named '_sqlite3'", name="_sqlite3"))
    assert told is not None
    assert told.message == "Python is not installed completely (No module named '_sqlite3')."
    assert told.hint.startswith("Install Python again")


def test_none_of_the_libraries_that_we_always_need_begins_with_an_empty_file():
    """Else one that is whole would be called damaged."""
    assert [name for name in ALWAYS_NEEDED if library_trial.fault_of(name) is not None] == []
