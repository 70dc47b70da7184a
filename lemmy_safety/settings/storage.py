"""Options: where the objects are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lemmy_safety.settings.option import option

SECTION = "Storage: one of S3, SSH or a local folder"


def _why_no_key(prefix: str) -> str | None:
    """Why no key can begin with this text; None if one can."""
    if prefix.startswith("/"):
        return f"is {prefix!r}, and no key begins with a slash"
    odd = next((part for part in prefix.split("/")[:-1] if part in {"", ".", ".."}), None)
    return None if odd is None else f"is {prefix!r}, and no key has a part {odd!r}"


#: How the inside of a key file begins, in base64: OpenSSH's own form, and the older ones.
_KEYS = ("b3BlbnNzaC1rZXktdjE", "MII")
_LONGEST_NAME = 255


def _why_no_key_file(text: str) -> str | None:
    """An error if the key itself was pasted, which no message may repeat; None if it can be the name of a file."""
    pasted = "PRIVATE KEY" in text or text.startswith(_KEYS[0])
    if pasted or (text.startswith(_KEYS[1]) and len(text) > _LONGEST_NAME):
        return "is a private key and not the name of the file that holds it"
    return None


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """Where the objects are."""

    storage: str | None = option(
        None,
        "Which storage to use; needed only when more than one is filled in.",
        kind=str,
        section=SECTION,
        choices=("s3", "ssh", "local"),
        flag=True,
    )
    s3_endpoint: str | None = option(
        None,
        "S3: URL of the object storage.",
        kind=str,
        section=SECTION,
        env=("OBJECT_STORAGE_ENDPOINT",),
        example="https://eu2.example.com",
    )
    s3_bucket: str = option(
        "pictrs", "S3: bucket that pict-rs writes to.", kind=str, section=SECTION, env=("PICTRS_BUCKET",)
    )
    s3_access_key: str | None = option(
        None, "S3: access key.", kind=str, section=SECTION, env=("AWS_ACCESS_KEY_ID",), secret=True, example="accesskey"
    )
    s3_secret_key: str | None = option(
        None,
        "S3: secret key.",
        kind=str,
        section=SECTION,
        env=("AWS_SECRET_ACCESS_KEY",),
        secret=True,
        example="secretkey",
    )
    s3_session_token: str | None = option(
        None,
        "S3: session token, where temporary credentials are used.",
        kind=str,
        section=SECTION,
        env=("AWS_SESSION_TOKEN",),
        secret=True,
    )
    s3_region: str = option(
        "auto", "S3: region; auto asks the server.", kind=str, section=SECTION, env=("AWS_DEFAULT_REGION",)
    )
    s3_addressing: str = option(
        "path", "S3: how the bucket is named in URLs.", kind=str, section=SECTION, choices=("path", "virtual", "auto")
    )
    ssh_hostname: str | None = option(
        None,
        "SSH: host that holds the pict-rs files; a Host of the SSH config file too.",
        kind=str,
        section=SECTION,
        env=("SSH_HOSTNAME",),
        example="lemmy.example.com",
    )
    ssh_port: int | None = option(
        None,
        "SSH: port; without it that of the SSH config file, or 22.",
        kind=int,
        section=SECTION,
        env=("SSH_PORT",),
        minimum=1,
        maximum=65535,
        example="22",
    )
    ssh_username: str | None = option(
        None,
        "SSH: user who may read and delete the pict-rs files; without it that of the SSH config file.",
        kind=str,
        section=SECTION,
        env=("SSH_USERNAME",),
        example="pictrs",
    )
    ssh_privkey: Path | None = option(
        None,
        "SSH: private key file; without it those of the SSH config file and the SSH agent are used.",
        kind=Path,
        section=SECTION,
        env=("SSH_PRIVKEY",),
        example="~/.ssh/id_ed25519",
        refuse=_why_no_key_file,
    )
    ssh_passphrase: str | None = option(
        None,
        "SSH: passphrase of the private key; asked for on a terminal when it is needed and not set.",
        kind=str,
        section=SECTION,
        env=("SSH_PASSPHRASE",),
        secret=True,
    )
    ssh_known_hosts: Path | None = option(
        None,
        "SSH: file with the host keys that are trusted; without it that of the SSH config file, or ~/.ssh/known_hosts.",
        kind=Path,
        section=SECTION,
        env=("SSH_KNOWN_HOSTS",),
        example="~/.ssh/known_hosts",
    )
    ssh_config: Path | None = option(
        None,
        "SSH: config file of OpenSSH, for aliases and jump hosts; none leaves it out, without it ~/.ssh/config is read.",
        kind=Path,
        section=SECTION,
        env=("SSH_CONFIG",),
        example="~/.ssh/config",
    )
    files_directory: str | None = option(
        None,
        "SSH and local: the pict-rs files folder.",
        kind=str,
        names_files=True,
        section=SECTION,
        env=("PICTRS_FILES_DIRECTORY", "SSH_PICTRS_FILES_DIRECTORY"),
        example="/lemmy/lemmy.example.com/volumes/pictrs/files",
    )
    prefix: str = option(
        "",
        "Only objects whose key starts with this.",
        kind=str,
        names_files=True,
        section=SECTION,
        flag=True,
        refuse=_why_no_key,
    )
