"""Paths that begin with ``~``: what they mean, and what is said where this account has no home folder.

A container that runs with an arbitrary user id (OpenShift, ``docker run --user``), ``env -i`` and some service managers
give no HOME and no entry in the list of accounts. So ``~`` is resolved when something below it is needed, and no earlier.
"""

from __future__ import annotations

from pathlib import Path

from lemmy_safety.errors import SettingsError


def expanded(path: Path, *, what: str) -> Path:
    """``path`` with its ``~`` replaced. ``what`` names the setting to change, or what is looked for.

    :raises SettingsError: this account has no home folder, or ``~name`` names an account that does not exist.
    """
    found = expanded_if_known(path)
    if str(found).startswith("~"):
        user = Path(found).parts[0]
        why = f"there is no account {user[1:]!r}" if user != "~" else "this account has no home folder"
        raise SettingsError(
            f"{what}: {str(path)!r} cannot be resolved: {why}.", hint="Write the path out, or set HOME."
        )
    return found


def expanded_if_known(path: Path) -> Path:
    """``path`` with its ``~`` replaced, or as it is where that cannot be done (yet)."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path
