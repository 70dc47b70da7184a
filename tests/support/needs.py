"""What a test needs, found in its code: other programs, servers in threads of its own process, and models.

A test is marked ``process``, ``server`` or ``model`` where its function, its fixtures or their helpers use a library
that starts programs or servers, or loads models. ``@needs`` says it of a helper whose own code does not show it, because our code does it.
``ProgramsSeen`` notices a program that is started all the same, so that no test stays unmarked.
"""

from __future__ import annotations

import functools
import inspect
import sys
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROOT = Path(__file__).resolve().parents[2]
#: Code that is read further.
_READ = (str(_ROOT / "tests"), str(_ROOT / "scripts"))

#: Marks of tests that `make quick` leaves out.
NOT_QUICK = ("external_service", "server", "process", "model", "slow", "long")

#: What is here imports torch, which takes as long as hundreds of tests; `make quick` does not read it.
WITH_TORCH = ("tests/detectors/clip", "tests/daemon/test_idle_models.py")

#: The mark by package or module, whatever is used of it.
_OF_MODULE = {
    "subprocess": "process",
    "multiprocessing": "process",
    "http.server": "server",
    "uvicorn": "server",
    "lemmy_safety.web.server": "server",
    "lemmy_safety.media.workers.pool": "process",
    "lemmy_safety.media.workers.process": "process",
    "torch": "model",
    "open_clip": "model",
    "onnxruntime": "model",
    "openvino": "model",
    "nudenet": "model",
    "lemmy_safety.detectors.nudenet": "model",
}

#: Audit events of Python that tell of a new program.
_STARTS = frozenset({"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.system"})


def needs(mark: str) -> Callable[[Any], Any]:
    """Say that whatever uses this function or class needs ``mark``."""

    def said(helper: Any) -> Any:
        helper.needs = mark
        return helper

    return said


def left_out(mark: str, expression: str) -> bool:
    """Whether pytest's option ``-m`` leaves out what has this mark, as `make quick` does."""
    return expression.startswith("not ") and mark in expression


def imports_torch(path: Path) -> bool:
    """Whether it is one of ``WITH_TORCH``."""
    return path in {_ROOT / name for name in WITH_TORCH}


def marks_of(functions: list[Any]) -> set[str]:
    """The marks of all that these functions use, directly or through other code of the tests."""
    return {mark for function in functions for mark in _marks(function)}


_known: dict[int, tuple[Any, set[str]]] = {}


def _marks(start: Any) -> set[str]:
    if id(start) not in _known:
        found: set[str] = set()
        seen: set[int] = set()
        waiting = [start]
        while waiting:
            thing = _undecorated(waiting.pop())
            if id(thing) in seen:
                continue
            seen.add(id(thing))
            if mark := _mark(thing):
                found.add(mark)
            elif _is_ours(thing):
                waiting.extend(_used_by(thing))
        _known[id(start)] = (start, found)  # held, so that its id stays its own
    return _known[id(start)][1]


def _undecorated(thing: Any) -> Any:
    return inspect.unwrap(thing) if isinstance(thing, FunctionType | functools._lru_cache_wrapper) else thing


def _mark(thing: Any) -> str | None:
    if isinstance(thing, ModuleType):
        return _of_module(thing.__name__)
    if not isinstance(thing, FunctionType | type):
        return None
    return vars(thing).get("needs") or _of_module(str(thing.__module__))


def _of_module(name: str) -> str | None:
    while name:
        if mark := _OF_MODULE.get(name):
            return mark
        name = name.rpartition(".")[0]
    return None


def _is_ours(thing: Any) -> bool:
    """Whether it is code of the tests or of a script, which is read further."""
    if isinstance(thing, FunctionType):
        return thing.__code__.co_filename.startswith(_READ)
    module = sys.modules.get(thing.__module__) if isinstance(thing, type) else None
    return str(getattr(module, "__file__", "")).startswith(_READ)


def _used_by(thing: Any) -> Iterator[Any]:
    if isinstance(thing, type):
        yield from thing.__bases__
        for member in vars(thing).values():
            yield from _functions_in(member)
        return
    names = set(_names(thing.__code__))
    for name in names:
        value = thing.__globals__.get(name, sys.modules.get(name))
        if isinstance(value, ModuleType) and value.__name__.startswith("support."):
            yield from (vars(value)[other] for other in names & vars(value).keys())
        yield value
    yield from (cell.cell_contents for cell in thing.__closure__ or () if _is_filled(cell))


def _functions_in(member: Any) -> Iterator[Any]:
    if isinstance(member, property):
        yield member.fget
    yield getattr(member, "__func__", member)
    yield getattr(member, "func", None)  # of a cached property


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True


class ProgramsSeen:
    """The programs that were started while ``watching``."""

    def __init__(self) -> None:
        self.watching = False
        self.seen: list[str] = []
        sys.addaudithook(self._heard)

    def _heard(self, event: str, details: tuple[Any, ...]) -> None:
        if event in _STARTS and self.watching:
            self.seen.append(" ".join(map(str, details[:2]))[:200])
