"""Missing or partly installed libraries: the result of a killed ``pip``, a full disk or two package managers.

To Python, a folder without its ``__init__.py`` is not a missing package: it imports as an empty one, and its first use
ends with AttributeError. A missing compiled file ends with ImportError or OSError, mismatched versions with
anything. Here all of that becomes one line that says what to install again.
"""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager, suppress
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from lemmy_safety.errors import LemmySafetyError, MissingExtra
from lemmy_safety.foreign import first_line
from lemmy_safety.shortages import shortage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


#: What reads media and makes hashes, apart from the extras. Dependencies come first.
DECODING_PACKAGES = ("numpy", "PIL", "pdqhash", "av")

#: What is always installed, by module name, with the distributions that provide it; as in pyproject.toml.
#: Dependencies come first, so that the first one that cannot be imported is the one to install again.
ALWAYS_NEEDED = {
    "click": "click",
    "dotenv": "python-dotenv",
    "platformdirs": "platformdirs",
    "psutil": "psutil",
    "rich": "rich",
    "urllib3": "urllib3",
    "botocore": "botocore",
    "boto3": "boto3",
    "cryptography": "cryptography",
    "httpx": "httpx",
    "paramiko": "paramiko",
    "sqlalchemy": "sqlalchemy",
    "alembic": "alembic",
    "numpy": "numpy",
    "PIL": "pillow",
    "pdqhash": "pdqhash",
    "av": "av",
}

#: What follows the name in a requirement, such as ``>=3``.
_AFTER_A_NAME = re.compile(r"[^\w.-]")

#: pdqhash neither declares that it needs numpy nor names it in its error.
_UNDECLARED = {"pdqhash": ("numpy",)}


def is_there(name: str) -> bool:
    """Whether a module can be found at all, complete or not."""
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # the latter: a module that was imported by hand and has no spec
        return False


def is_recorded(name: str) -> bool:
    """Whether pip counts a module's distribution as installed, and so would not install it again by itself."""
    try:
        metadata.distribution(distribution_of(name))
    except (metadata.PackageNotFoundError, ValueError):
        return False
    return True


def is_leftover(name: str) -> bool:
    """Whether only a package's folder is left: it has no ``__init__.py``."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is None


def distribution_of(module: str) -> str:
    """What a person installs to get a top-level module, such as ``pillow`` for ``PIL``; its own name if unknown."""
    if module in ALWAYS_NEEDED:
        return ALWAYS_NEEDED[module]
    try:
        found = metadata.packages_distributions().get(module, [])
    except Exception:  # noqa: BLE001 - a killed installer can leave a distribution's own records in any state
        found = []
    return next((name for name in found if name), module)


def check_whole(*names: str, needed_for: str = "") -> None:
    """Import packages that the program always needs, to check that none of them is partly missing.

    Otherwise a missing decoder would report every file as undecodable.

    :raises MissingExtra: the first that is not installed, or only partly installed.
    """
    for name in names:
        check_whole(*_UNDECLARED.get(name, ()), needed_for=needed_for)
        if is_leftover(name):
            raise _not_whole(name, f"only a folder is left of {name}", needed_for)
        if _is_empty(name):
            raise _not_whole(name, f"the first file of {name} is empty", needed_for)
        try:
            import_module(name)
        except (LemmySafetyError, MemoryError):
            raise
        except Exception as error:
            if shortage(error):  # the package is fine
                raise
            # Exceptions during a library's import have no common base.
            raise _not_whole(_named_by(error) or name, _one_line(error), needed_for) from error


@contextmanager
def imported(*names: str, extra: str, needed_for: str) -> Iterator[None]:
    """Wraps the imports of the packages ``names`` of an extra, and the first use of their content.

    :raises MissingExtra: one is not installed, or only partly installed.
    """
    for name in names:
        if is_leftover(name):
            raise MissingExtra(extra, needed_for=needed_for, cause=f"only a folder is left of {name}", damaged=True)
        if _is_empty(name):
            cause = f"the first file of {name} is empty"
            raise MissingExtra(extra, needed_for=needed_for, cause=cause, damaged=True)
    try:
        yield
    except (LemmySafetyError, MemoryError):
        raise
    except ModuleNotFoundError as error:
        damaged = not _is_missing(_top(error.name), needed_by=names)
        raise MissingExtra(extra, needed_for=needed_for, cause=_one_line(error), damaged=damaged) from error
    except Exception as error:
        if shortage(error):  # the package is fine
            raise
        # Exceptions during a library's import have no common base.
        raise MissingExtra(extra, needed_for=needed_for, cause=_one_line(error), damaged=True) from error


def to_install(extra: str, error: MissingExtra) -> str:
    """What to install if a medium cannot be read without an extra."""
    return (
        f"install lemmy-safety[{extra}] again, its packages are damaged"
        if error.damaged
        else f"install lemmy-safety[{extra}]"
    )


def explained(error: Exception) -> MissingExtra | None:
    """An unexpected error as one of ours, if a missing or damaged package is the reason; else None.

    An ImportError can name an inner module that cannot be installed, and half a library can raise anything. Then the
    reason
    is the first of our packages that cannot be imported.
    """
    if isinstance(error, ImportError) and _top(error.name) in sys.stdlib_module_names:
        hint = "Install Python again, with all modules of its standard library."
        told = MissingExtra(package="Python", cause=_one_line(error), damaged=True, hint=hint)
    elif (package := _named_by(error)) is not None:
        told = _not_whole(package, _one_line(error))
    else:
        try:
            check_whole(*ALWAYS_NEEDED)
        except MissingExtra as found:
            told = found
        except Exception:  # noqa: BLE001 - memory ran out meanwhile, which does not explain the first error
            return None
        else:
            if not isinstance(error, ImportError) or not _is_foreign(_top(error.name)):
                return None
            told = _not_whole(_top(error.name), _one_line(error))
    told.__cause__ = error
    return told


def gone_decoder(error: AttributeError) -> str | None:
    """The package of which only a folder is left, if that is why an attribute is missing."""
    module = error.obj
    if isinstance(module, ModuleType) and getattr(module, "__file__", None) is None and is_leftover(module.__name__):
        return module.__name__
    return next((name for name in DECODING_PACKAGES if is_leftover(name)), None)


def _named_by(error: BaseException | None) -> str | None:
    """The package that an error itself names, if it can be installed."""
    if isinstance(error, ImportError):
        top = _package_at(error.path) or _top(error.name)
    elif isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        top = _top(error.obj.__name__)
    else:
        return None
    return top if _is_foreign(top) and (top in ALWAYS_NEEDED or is_there(top)) else None


def _package_at(path: str | None) -> str | None:
    """The package that contains a file. For a compiled module that does not load, Python names only the last part."""
    if not path:
        return None
    # The innermost: the working folder may be on the path, too, and contain all others.
    above = [folder for folder in map(Path, sys.path) if folder.is_absolute() and Path(path).is_relative_to(folder)]
    below = Path(path).relative_to(max(above, key=lambda folder: len(folder.parts))).parts if above else ()
    return below[0] if len(below) > 1 and is_there(below[0]) else None


def _is_foreign(top: str) -> bool:
    return top not in {"", "__main__", "lemmy_safety"} and top not in sys.stdlib_module_names


def _top(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _not_whole(module: str, cause: str, needed_for: str = "") -> MissingExtra:
    return MissingExtra(
        package=distribution_of(module),
        needed_for=needed_for,
        cause=cause,
        damaged=is_there(module) or is_recorded(module),
    )


def _is_empty(name: str) -> bool:
    try:
        spec = find_spec(name)
        return spec is not None and spec.has_location and Path(str(spec.origin)).stat().st_size == 0
    except (ImportError, ValueError, OSError):  # the last: it is in an archive
        return False


def _is_missing(top: str, *, needed_by: Collection[str]) -> bool:
    """Whether a module that was not found can be installed, unlike an inner one of a package (``_pillow_heif``)."""
    if is_there(top) or is_recorded(top):
        return False
    needs: list[str] = []
    for name in needed_by:
        with suppress(metadata.PackageNotFoundError):
            needs += metadata.requires(distribution_of(name)) or ()
    return top in needed_by or any(_AFTER_A_NAME.split(need)[0].replace("-", "_").lower() == top for need in needs)


def _one_line(error: BaseException) -> str:
    while error.__cause__ is not None:  # numpy surrounds the real error with pages of advice
        error = error.__cause__
    return first_line(error).rstrip(".")
