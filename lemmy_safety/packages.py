"""Libraries that are missing, or installed in part: what a killed ``pip``, a full disk or two package managers leave behind.

A folder without its ``__init__.py`` is no missing package to Python: it imports as an empty one, and the first use of it
ends with AttributeError. A missing compiled file ends with ImportError or OSError, other versions of a library with
anything. Here all of that becomes one line that says what to install again.
"""

from __future__ import annotations

from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

from lemmy_safety.errors import LemmySafetyError, MissingExtra
from lemmy_safety.foreign import foreign
from lemmy_safety.shortages import shortage

if TYPE_CHECKING:
    from collections.abc import Iterator


#: What reads media and makes hashes, apart from the extras.
DECODING_PACKAGES = ("av", "numpy", "PIL", "pdqhash")


def is_there(name: str) -> bool:
    """Whether a module can be found at all, whole or not."""
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # the latter: a module that was imported by hand and has no spec
        return False


def is_leftover(name: str) -> bool:
    """Whether only a folder is left of a package: no ``__init__.py`` in it."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is None


def check_whole(*names: str, needed_for: str) -> None:
    """See that packages of the program itself, not of an extra, are more than a folder.

    Without this, a decoder that is gone would say of every file that it cannot be decoded.

    :raises MissingExtra: only a folder is left of one.
    """
    for name in names:
        if is_leftover(name):
            raise MissingExtra("", needed_for=needed_for, cause=f"only a folder is left of {name}", damaged=True)


@contextmanager
def imported(*names: str, extra: str, needed_for: str) -> Iterator[None]:
    """Around the imports of the packages ``names`` of an extra, and the first use of what they hold.

    :raises MissingExtra: one is not installed, or installed in part.
    """
    for name in names:
        if is_leftover(name):
            raise MissingExtra(extra, needed_for=needed_for, cause=f"only a folder is left of {name}", damaged=True)
    try:
        yield
    except (LemmySafetyError, MemoryError):
        raise
    except ModuleNotFoundError as error:
        top = (error.name or "").partition(".")[0]
        damaged = is_there(top)
        raise MissingExtra(extra, needed_for=needed_for, cause=_one_line(error), damaged=damaged) from error
    except Exception as error:
        if shortage(error):  # nothing is wrong with the package
            raise
        # What a library raises while it is imported has no common base.
        raise MissingExtra(extra, needed_for=needed_for, cause=_one_line(error), damaged=True) from error


def to_install(extra: str, error: MissingExtra) -> str:
    """What a person has to install where a medium cannot be read without an extra."""
    return (
        f"install lemmy-safety[{extra}] again, its packages are damaged"
        if error.damaged
        else f"install lemmy-safety[{extra}]"
    )


def at_fault(error: BaseException) -> str | None:
    """The package because of which an unexpected error came, where its installation is the reason."""
    if isinstance(error, ImportError) and error.name and error.name.partition(".")[0] != "lemmy_safety":
        return error.name.partition(".")[0]
    module = error.obj if isinstance(error, AttributeError) else None
    if isinstance(module, ModuleType) and getattr(module, "__file__", None) is None and is_leftover(module.__name__):
        return module.__name__
    if isinstance(error, ImportError | AttributeError):  # of a library that does not say which other one it missed
        return next((name for name in DECODING_PACKAGES if is_leftover(name)), None)
    return None


def _one_line(error: Exception) -> str:
    lines = foreign(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
