"""The storage, and a tunnel through its SSH server, from the settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemmy_safety.errors import SettingsError
from lemmy_safety.home import expanded
from lemmy_safety.settings import check_complete, choose_storage, variable
from lemmy_safety.wiring.folders import at_home

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.settings import Settings
    from lemmy_safety.storage.base import Storage
    from lemmy_safety.storage.ssh import SshTunnel

    AskPassphrase = Callable[[str], str]


def build_storage(
    settings: Settings, *, kind: str | None = None, ask_passphrase: AskPassphrase | None = None
) -> Storage:
    """The storage that the settings choose, or the one of this ``kind``, not yet connected.

    :raises SettingsError: none or several are set, or one is incomplete or invalid.
    """
    if kind is None:
        kind = choose_storage(settings)
    else:
        check_complete(settings, kind)
    if kind == "s3":
        from lemmy_safety.storage.s3 import S3Storage

        return S3Storage(
            endpoint=settings.s3_endpoint or "",
            bucket=settings.s3_bucket,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
            session_token=settings.s3_session_token,
            region=settings.s3_region,
            addressing=settings.s3_addressing,
            connections=settings.threads
            + 5,  # besides the fetchers: the recorder, the lister, and what counts (up to 3)
        )
    root = settings.files_directory or ""
    if kind == "ssh":
        from lemmy_safety.storage.ssh import SshStorage

        return SshStorage(**_ssh_account(settings, ask_passphrase), root=root)
    from lemmy_safety.storage.local import LocalStorage

    return LocalStorage(expanded(Path(root), what="PICTRS_FILES_DIRECTORY"))


def build_tunnel(
    settings: Settings, target: tuple[str, int], *, what: str, ask_passphrase: AskPassphrase | None = None
) -> SshTunnel:
    """A way through the SSH server to a host and port as it sees them; ``what`` is there. Not yet connected.

    :raises SettingsError: the SSH settings are incomplete or invalid.
    """
    from lemmy_safety.storage.ssh import SshTunnel

    if not settings.ssh_hostname:
        raise SettingsError(
            "PICTRS_VIA_SSH is set, and SSH_HOSTNAME is not.",
            hint="Set SSH_HOSTNAME, SSH_USERNAME and SSH_PRIVKEY (docs/storage.md), or leave PICTRS_VIA_SSH out.",
        )
    return SshTunnel(**_ssh_account(settings, ask_passphrase), target=target, what=what)


def _ssh_account(settings: Settings, ask_passphrase: AskPassphrase | None) -> dict[str, Any]:
    """How to log in to the SSH server: the same for files and for a tunnel."""
    from lemmy_safety.storage.ssh import read_ssh_config

    return {
        "host": settings.ssh_hostname or "",
        "port": settings.ssh_port,
        "username": settings.ssh_username,
        "private_key": at_home(settings.ssh_privkey, "SSH_PRIVKEY"),
        "passphrase": settings.ssh_passphrase,
        "known_hosts": at_home(settings.ssh_known_hosts, "SSH_KNOWN_HOSTS"),
        "config": read_ssh_config(at_home(settings.ssh_config, "SSH_CONFIG"), variable),
        "ask_passphrase": ask_passphrase,
    }
