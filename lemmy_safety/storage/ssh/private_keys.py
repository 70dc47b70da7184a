"""Which private keys to offer, and how to unlock them. A passphrase is never logged and never part of a message."""

from __future__ import annotations

import logging
import struct
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm

from lemmy_safety.errors import PrivateKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOG = logging.getLogger(__name__)

_KEY_CLASSES: tuple[type[paramiko.PKey], ...] = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)

#: Tried when no key file is set, as ssh does.
_DEFAULT_FILES = ("id_ed25519", "id_ecdsa", "id_rsa")

#: What paramiko's key classes raise for a file that is none of theirs, damaged, or unlocked with a wrong passphrase.
_NOT_THIS_KEY = (
    paramiko.SSHException,
    UnsupportedAlgorithm,
    ValueError,
    TypeError,
    IndexError,
    AssertionError,
    struct.error,
)


class PrivateKeys:
    """The keys of one account. A key file is read and unlocked once, so that a reconnect asks nobody anything."""

    def __init__(self, path: Path | None, passphrase: str | None, ask_passphrase: Callable[[str], str] | None) -> None:
        """``ask_passphrase`` is given a prompt and returns what was typed (``getpass.getpass`` fits)."""
        self._path = path
        self._passphrase = passphrase
        self._ask = ask_passphrase
        self._unlocked: dict[Path, paramiko.PKey] = {}

    def candidates(self) -> Iterator[tuple[str, paramiko.PKey]]:
        """Keys in the order in which to offer them, each with a name for messages.

        The key file if one is set. If it is locked and no passphrase is set, the agent's keys come first, and only then
        a person is asked. Without a key file: the agent's keys, then ssh's default files.

        :raises PrivateKeyError: the file is missing, no key, or stays locked.
        """
        if self._path is None:
            yield from self._agent_keys()
            yield from self._default_keys()
            return
        key = self._load(self._path)
        if key is None:
            yield from self._agent_keys()
            key = self._load_asking(self._path)
        yield str(self._path), key

    def _default_keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        for name in _DEFAULT_FILES:
            path = Path.home() / ".ssh" / name
            try:
                if path.is_file():
                    yield str(path), self._load(path) or self._load_asking(path)
            except PrivateKeyError as error:
                # Nobody named this file, so it is not at fault when another key works.
                _LOG.info("default key skipped: %s", error.message)

    def _agent_keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        try:
            with closing(paramiko.Agent()) as agent:
                for number, key in enumerate(agent.get_keys(), start=1):
                    yield f"agent key {number} ({key.get_name()})", key
        except (paramiko.SSHException, OSError) as error:
            _LOG.info("the SSH agent cannot be used: %s", error)

    def _load(self, path: Path) -> paramiko.PKey | None:
        """The key, with the passphrase setting if it is locked; None when it is locked and there is no such setting."""
        if path in self._unlocked:
            return self._unlocked[path]
        key, locked = _read_key(path, None)
        if key is None and locked and self._passphrase is not None:
            key = self._unlock(path, self._passphrase)
        if key is None and not locked:
            raise PrivateKeyError(
                f"The SSH private key {path} is not a key that can be used.",
                hint="Needed is an ed25519, ecdsa or rsa key in OpenSSH's format; other formats are converted by "
                f"ssh-keygen -p -f {path}  (PuTTY's .ppk by PuTTYgen: Conversions, Export OpenSSH key).",
            )
        if key is not None:
            self._unlocked[path] = key
        return key

    def _load_asking(self, path: Path) -> paramiko.PKey:
        if self._ask is None:
            raise PrivateKeyError(
                f"The SSH private key {path} is locked: passphrase missing.",
                hint="Set SSH_PASSPHRASE or use an agent (ssh-add).",
            )
        key = self._unlocked[path] = self._unlock(path, self._ask(f"Passphrase for {path}: "))
        return key

    def _unlock(self, path: Path, passphrase: str) -> paramiko.PKey:
        # An empty passphrase is the same as none to paramiko, and never right for a locked key.
        key = _read_key(path, passphrase)[0] if passphrase else None
        if key is None:
            raise PrivateKeyError(
                f"The passphrase for the SSH private key {path} is wrong.",
                hint="Correct SSH_PASSPHRASE, or load the key into an agent (ssh-add) and unset it.",
            )
        return key


def _read_key(path: Path, passphrase: str | None) -> tuple[paramiko.PKey | None, bool]:
    """The key if it can be read, and whether the file is locked.

    Each class is tried in turn: with a wrong passphrase their errors cannot be told from those for another kind of key.
    """
    locked = False
    for kind in _KEY_CLASSES:
        try:
            return kind.from_private_key_file(str(path), passphrase), locked
        except FileNotFoundError as error:
            raise PrivateKeyError(
                f"There is no SSH private key file {path}.", hint="Set SSH_PRIVKEY to the file without .pub."
            ) from error
        except OSError as error:
            raise PrivateKeyError(
                f"The SSH private key {path} cannot be read: {error.strerror}.",
                hint="Give this user (and nobody else) read permission on it.",
            ) from error
        except paramiko.PasswordRequiredException:
            locked = True
        except _NOT_THIS_KEY:
            continue
    return None, locked
