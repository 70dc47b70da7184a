"""Which storage the settings mean if they do not name one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.errors import SettingsError
from lemmy_safety.settings.table import OPTIONS

if TYPE_CHECKING:
    from lemmy_safety.settings.table import Settings


def choose_storage(settings: Settings) -> str:
    """Which backend the settings mean: ``s3``, ``ssh`` or ``local``.

    :raises SettingsError: none or several are filled in, or the chosen one is incomplete.
    """
    filled = filled_storages(settings)
    if settings.storage is None and len(filled) > 1:
        raise SettingsError(
            f"Settings for {' and '.join(filled)} are filled in, and none is chosen.",
            hint=f"Choose with --storage {{{','.join(filled)}}}.",
        )
    if settings.storage is None and not filled:
        raise SettingsError(
            f"No storage is set up. Fill in one of these, in the environment or in {settings.env_file}:\n"
            "  s3     OBJECT_STORAGE_ENDPOINT, PICTRS_BUCKET, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY\n"
            "  ssh    SSH_HOSTNAME, SSH_USERNAME, SSH_PRIVKEY, PICTRS_FILES_DIRECTORY\n"
            "  local  PICTRS_FILES_DIRECTORY",
            hint=(
                "Write a template of .env: lemmy-safety env-example -o .env. Fill in one storage, then: lemmy-safety doctor. "
                "To look around first, without any settings: lemmy-safety demo"
            ),
        )
    kind = settings.storage or filled[0]
    check_complete(settings, kind)
    return kind


def filled_storages(settings: Settings) -> list[str]:
    """The backends that are at least partly filled in."""
    filled = []
    if settings.s3_endpoint:
        filled.append("s3")
    if settings.ssh_hostname:
        filled.append("ssh")
    elif settings.files_directory:
        filled.append("local")
    return filled


def check_complete(settings: Settings, kind: str) -> None:
    """:raises SettingsError: the backend is incomplete."""
    needed = {
        "s3": ("s3_endpoint", "s3_bucket"),
        "ssh": ("ssh_hostname", "files_directory"),  # the user may be in the SSH config file
        "local": ("files_directory",),
    }[kind]
    missing = [OPTIONS[name].env[0] for name in needed if not getattr(settings, name)]
    if missing:
        raise SettingsError(f"Storage {kind} also needs {', '.join(missing)}.", hint=f"Set it in {settings.env_file}.")
