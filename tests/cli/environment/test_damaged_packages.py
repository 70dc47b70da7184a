"""Half-installed libraries: each is one line with what to install again, also in ``doctor``."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

import pytest

from lemmy_safety.cli.checks.extras import require_web
from lemmy_safety.cli.output.failures import understood
from lemmy_safety.detectors.clip.encoders.openvino_build import has_openvino
from lemmy_safety.errors import MissingExtra
from lemmy_safety.ledger.database.urls import parse_url
from lemmy_safety.media.complaints import complaint_of
from lemmy_safety.packages import DECODING_PACKAGES, check_whole, explained, imported, is_leftover

if TYPE_CHECKING:
    from pathlib import Path

AGAIN = "Install them again: pip install --force-reinstall 'lemmy-safety[{}]'"
AGAIN_ALONE = "Install it again: pip install --force-reinstall {}"


class _OnlyAFolder:
    """Finds a package of which nothing but its folder is left, as Python does where no whole one is installed."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._folder = name, folder

    def find_spec(self, name: str, _path: object, _target: object = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(self._folder)]
        return spec


@pytest.fixture
def damage(tmp_path, monkeypatch):
    """Put a damaged package of a name in front of the one that is installed."""
    place = tmp_path / "site"
    monkeypatch.syspath_prepend(str(place))
    damaged: set[str] = set()

    def loaded(name: str) -> list[str]:
        return [known for known in sys.modules if known.partition(".")[0] == name]

    def make(name: str, content: str | None = None) -> None:
        (place / name).mkdir(parents=True)
        if content is not None:
            (place / name / "__init__.py").write_text(content, encoding="utf-8")
        damaged.add(name)
        for known in loaded(name):
            monkeypatch.delitem(sys.modules, known)
        if content is None:
            # A folder alone is found last of all; this finder finds it as if the whole package were uninstalled.
            monkeypatch.setattr(sys, "meta_path", [_OnlyAFolder(name, place / name), *sys.meta_path])

    yield make
    # A damaged package that was imported must not stay for the tests that follow.
    for name in damaged:
        for known in loaded(name):
            del sys.modules[known]


#: What is left of a package, or what it does when it is imported.
CONTENTS = [
    None,
    "",
    "from ._core import missing",
    "raise OSError('libcore.so: cannot open shared object file')",
    "raise AttributeError('module numpy has no attribute bool')",
    "raise RuntimeError('built for another version')",
    "def broken(:",
]


@pytest.mark.parametrize("content", CONTENTS)
def test_onnxruntime_in_part_is_told_by_doctor(call, store, damage, content) -> None:
    """The rest is checked all the same."""
    pytest.importorskip("nudenet")
    damage("onnxruntime", content)
    result = call("doctor", "--json", "--detectors", "hashes,nudenet")
    assert result.exit_code == MissingExtra.exit_code, result.output
    (fault,) = [check for check in json.loads(result.stdout)["checks"] if check["ok"] is False]
    assert fault["fix"] == AGAIN.format("nudenet")
    assert "\n" not in fault["detail"]


@pytest.mark.parametrize("name", ["fastapi", "uvicorn", "httpx", "prometheus_client", "python_multipart"])
def test_what_the_hook_needs_in_part_is_told_before_it_starts(damage, name) -> None:
    """A package that fails while it is imported."""
    damage(name, "raise OSError('a file is missing')")
    with pytest.raises(MissingExtra) as caught:
        require_web("The hook")
    assert caught.value.hint == AGAIN.format("web")


@pytest.mark.parametrize("content", [None, "from ._missing import x"])
def test_a_driver_in_part_is_told(damage, content) -> None:
    """Also one of which only the folder is left, which Python imports without a word."""
    damage("psycopg", content)
    with pytest.raises(MissingExtra) as caught:
        parse_url("postgresql://host/db")
    assert caught.value.hint == AGAIN.format("postgres")


def test_a_folder_is_no_openvino(damage) -> None:
    """Then nothing is screened with it."""
    damage("openvino")
    assert is_leftover("openvino")
    assert not has_openvino()


def test_what_is_not_installed_at_all_is_still_called_that() -> None:
    """With the plain way to install it."""
    with pytest.raises(MissingExtra) as caught, imported("nosuchpackage", extra="x", needed_for="It"):
        __import__("nosuchpackage")
    assert caught.value.hint == "Install them with: pip install 'lemmy-safety[x]'"


@pytest.mark.parametrize("content", [None, "from ._core import missing"])
def test_a_library_that_every_command_needs_is_named_as_well(damage, content) -> None:
    """Where no extra brings it."""
    damage("half_a_library", content)
    with pytest.raises((ImportError, AttributeError)) as caught:
        __import__("half_a_library").function()
    told = understood(caught.value)
    assert isinstance(told, MissingExtra)
    assert told.message.startswith("half_a_library is not installed completely (")
    assert told.hint == AGAIN_ALONE.format("half_a_library")


def test_our_own_faults_stay_bugs() -> None:
    """An attribute that is missing on an object of ours, or a module of ours."""
    with pytest.raises(AttributeError) as caught:
        object().nothing  # noqa: B018
    assert explained(caught.value) is None
    assert explained(ImportError("x", name="lemmy_safety.nothing")) is None


@pytest.mark.parametrize(("package", "kind", "extra"), [("pillow_jxl", "JXL", "jxl"), ("pillow_heif", "HEIC", "heic")])
@pytest.mark.parametrize("content", [content for content in CONTENTS if content is not None])
def test_a_damaged_decoder_costs_its_own_format_only(tmp_path, package, kind, extra, content):
    """Everything else is read. What cannot be read says what to install again; decoding processes start all the same."""
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(content, encoding="utf-8")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from lemmy_safety.media import sniff\n"
        "from lemmy_safety.media.stills import formats\n"
        "from lemmy_safety.media.workers.confinement import decode_in_one_thread\n"
        "decode_in_one_thread()\n"
        f"print(formats.missing(sniff.{kind}), formats.missing(sniff.AVIF), formats.readable(sniff.WEBP))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"install lemmy-safety[{extra}] again, its packages are damaged None True\n"


def test_a_decoder_of_which_only_a_folder_is_left_says_nothing_of_a_file(damage):
    """It would say of every video that it cannot be decoded, and UNREADABLE_ACTION=delete would do the rest."""
    damage("av")
    with pytest.raises(MissingExtra, match="only a folder is left of av") as caught:
        check_whole(*DECODING_PACKAGES, needed_for="Decoding")
    assert caught.value.hint == AGAIN_ALONE.format("av")
    left = importlib.import_module("av")
    with pytest.raises(MissingExtra, match="only a folder is left of av"):
        complaint_of(AttributeError("module 'av' has no attribute 'open'", name="open", obj=left))


def test_a_library_that_does_not_say_what_it_missed_is_no_bug_of_ours(damage):
    """pdqhash over half a numpy: an ImportError without a name."""
    assert explained(ImportError("numpy.core.multiarray failed to import")) is None
    damage("numpy")
    told = explained(ImportError("numpy.core.multiarray failed to import"))
    assert told is not None
    assert told.package == "numpy"
