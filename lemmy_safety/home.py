"""Paths that begin with ``~``: what they mean, and the error if this account has no home folder.

A container that runs with an arbitrary user id (OpenShift, ``docker run --user``), ``env -i`` and some service managers
give no HOME and no entry in the list of accounts; others set HOME to nothing. So ``~`` is resolved only when something
below it is needed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lemmy_safety.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

_VARIABLE = "USERPROFILE" if os.name == "nt" else "HOME"


def why_no_home() -> str | None:
    """Why ``~`` cannot be resolved; None if it can.

    Python takes an empty HOME for the root folder, and a relative one for a folder below the working folder. Neither is
    where an account keeps its files.
    """
    home = os.environ.get(_VARIABLE)
    if home is None:
        return None if os.path.expanduser("~") != "~" else "this account has no home folder"  # noqa: PTH111 - Path's own raises
    if not home.strip():
        return f"{_VARIABLE} is set and empty"
    return None if os.path.isabs(home) else f"{_VARIABLE} is a relative path"  # noqa: PTH117 - a text


def expanded(path: Path, *, what: str) -> Path:
    """``path`` with its ``~`` replaced. ``what`` names the setting to change, or the file in question.

    :raises SettingsError: this account has no home folder, or ``~name`` names an account that does not exist.
    """
    found = expanded_if_known(path)
    if str(found).startswith("~"):
        why = (why_no_home() if is_below_home(path) else None) or f"there is no account {path.parts[0][1:]!r}"
        raise SettingsError(
            f"{what}: {str(path)!r} cannot be resolved: {why}.", hint=f"Write the path out, or set {_VARIABLE}."
        )
    return found


def expanded_if_known(path: Path) -> Path:
    """``path`` with its ``~`` replaced, or unchanged if that cannot be done (yet)."""
    if is_below_home(path) and why_no_home():
        return path
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def is_below_home(path: Path) -> bool:
    """Whether ``path`` begins with the ``~`` of this account, not replaced (yet)."""
    return path.parts[:1] == ("~",)
