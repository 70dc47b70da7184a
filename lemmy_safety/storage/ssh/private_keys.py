"""Which private keys to offer, with which certificates, and how to unlock them.

A passphrase is never logged and never part of a message. ``key_files`` reads the key files.
"""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko
from paramiko.pkey import PublicBlob

from lemmy_safety.errors import PrivateKeyError
from lemmy_safety.home import expanded_if_known, is_below_home
from lemmy_safety.storage.ssh.certificates import SUFFIX, Certificate, read_certificate
from lemmy_safety.storage.ssh.key_files import KeyFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_LOG = logging.getLogger(__name__)

#: Tried if no key file is set, as ssh does.
_DEFAULT_FILES = ("id_ed25519", "id_ecdsa", "id_rsa")


class PrivateKeys:
    """The keys of one account. Each key file is read and unlocked once, so that a reconnect needs no input."""

    def __init__(
        self,
        path: Path | None,
        passphrase: str | None,
        ask_passphrase: Callable[[str], str] | None,
        *,
        identities: Sequence[Path] = (),
        certificates: Sequence[Path] = (),
        identities_only: bool = False,
    ) -> None:
        """``ask_passphrase`` receives a prompt and returns what was typed (``getpass.getpass`` fits).

        ``identities``, ``certificates`` and ``identities_only`` come from OpenSSH's config file; ``path`` overrides
        them.
        """
        self._path = path
        self._passphrase = passphrase
        self._ask = ask_passphrase
        self._identities = tuple(identities)
        self._certificates = tuple(certificates)
        self._identities_only = identities_only
        self._unlocked: dict[Path, paramiko.PKey] = {}
        self._named: KeyFile | None = None
        self.skipped: list[str] = []
        """Why files found in default places or in the config file are not used."""

    @property
    def file(self) -> Path | None:
        """The key file named for this account, by the settings or else by the config file."""
        return self._path or (self._identities[0] if self._identities else None)

    def read_named_file(self) -> None:
        """Read the key file named in the settings, so that its faults are known before connecting.

        :raises PrivateKeyError: it is missing, or plainly something else.
        """
        if self._path is not None and self._path not in self._unlocked:
            self._named = KeyFile(self._path)

    def candidates(self) -> Iterator[tuple[str, paramiko.PKey]]:
        """Keys in the order in which to offer them, each with a name for messages; first with a certificate, then
        without.

        The key file if one is set. If it is locked and no passphrase is set, the agent's keys come first; only then
        we ask a person. Without a key file: those of the config file, the agent's keys, then ssh's default files.

        :raises PrivateKeyError: the file is missing, not a key, or stays locked.
        """
        self.skipped = []
        offered: set[tuple[str, bytes]] = set()
        for label, key in self._all():
            for shown, offer in self._with_certificates(label, key):
                mark = (offer.public_blob.key_type if offer.public_blob else "", offer.asbytes())
                if mark not in offered:
                    offered.add(mark)
                    yield shown, offer

    def _all(self) -> Iterator[tuple[str, paramiko.PKey]]:
        if self._path is not None:
            yield from self._of_file(self._path)
            return
        yield from self._of_files(self._identities)
        if self._identities and self._identities_only:
            return
        yield from self._agent_keys()
        if not self._identities:
            found = [expanded_if_known(Path("~/.ssh", name)) for name in _DEFAULT_FILES]
            yield from self._of_files([path for path in found if not is_below_home(path)])

    def _of_files(self, paths: Sequence[Path]) -> Iterator[tuple[str, paramiko.PKey]]:
        for path in paths:
            try:
                if path.is_file():
                    yield from self._of_file(path)
                elif path in self._identities:
                    self.skipped.append(f"There is no file {path}.")
            except PrivateKeyError as error:
                # The settings do not name this file, so it is not to blame if another key works.
                _LOG.info("key skipped: %s", error.message)
                self.skipped.append(error.message)
            except OSError as error:  # HOME is another account's, as with "setpriv" and some service managers
                _LOG.info("key skipped: %s: %s", path, error.strerror)
                self.skipped.append(f"{path}: {error.strerror}.")

    def _of_file(self, path: Path) -> Iterator[tuple[str, paramiko.PKey]]:
        if path in self._unlocked:
            yield str(path), self._unlocked[path]
            return
        file = self._named if self._named is not None and path == self._path else KeyFile(path)
        if file.public_key is not None:
            # As ssh does: the public half identifies the agent's key that is meant.
            meant = False
            for found in self._agent_keys(only=file.public_key):
                meant = True
                yield found
            if not meant:
                raise file.is_public()
            return
        key = file.key(self._passphrase or None)
        if key is None and self._passphrase is None:
            yield from self._agent_keys(only=_public_half(path) if self._identities_only else None)
            key = self._asked(path, file)
        if key is None:
            raise _wrong_passphrase(path)
        self._unlocked[path] = key
        yield str(path), key

    def _asked(self, path: Path, file: KeyFile) -> paramiko.PKey | None:
        if self._ask is None:
            raise PrivateKeyError(
                f"The SSH private key {path} is locked: passphrase missing.",
                hint="Set SSH_PASSPHRASE or use an agent (ssh-add).",
            )
        # An empty passphrase is never right for a locked key.
        return file.key(self._ask(f"Passphrase for {path}: ") or None)

    def _agent_keys(self, *, only: bytes | None = None) -> Iterator[tuple[str, paramiko.PKey]]:
        try:
            with closing(paramiko.Agent()) as agent:
                for number, key in enumerate(agent.get_keys(), start=1):
                    if only is not None and key.asbytes() != only:
                        continue
                    if key.get_name().endswith(SUFFIX):
                        # paramiko would offer only the certificate's key.
                        vars(key)["public_blob"] = PublicBlob.from_message(paramiko.Message(key.blob))
                    yield f"agent key {number} ({key.get_name()})", key
        except (paramiko.SSHException, OSError) as error:
            _LOG.info("the SSH agent cannot be used: %s", error)

    def _with_certificates(self, label: str, key: paramiko.PKey) -> Iterator[tuple[str, paramiko.PKey]]:
        plain = key.public_blob
        named = [*self._identities, *self._unlocked] if self._path is None else [self._path]
        beside = [Path(str(path).removesuffix(".pub") + "-cert.pub") for path in named]
        try:
            for path in dict.fromkeys((*self._certificates, *beside)):
                certificate = _certificate(path, wanted=path in self._certificates)
                if certificate is not None and certificate.key == key.asbytes():
                    key.public_blob = PublicBlob.from_message(paramiko.Message(certificate.blob))
                    fault = certificate.out_of_time()
                    yield f"{label} with the certificate {path}" + (f" (it {fault})" if fault else ""), key
        finally:
            key.public_blob = plain
        yield label, key


def _certificate(path: Path, *, wanted: bool) -> Certificate | None:
    try:
        return read_certificate(path)
    except FileNotFoundError as error:
        if not wanted:
            return None
        reason: Exception = error
    except (OSError, ValueError) as error:
        reason = error
    _LOG.warning("the SSH certificate %s cannot be used: %s", path, reason)
    return None


def _public_half(path: Path) -> bytes | None:
    """The public key next to a locked private one."""
    try:
        return KeyFile(Path(f"{path}.pub")).public_key
    except PrivateKeyError:
        return None


def _wrong_passphrase(path: Path) -> PrivateKeyError:
    return PrivateKeyError(
        f"The passphrase for the SSH private key {path} is wrong.",
        hint="Correct SSH_PASSPHRASE, or load the key into an agent (ssh-add) and unset it.",
    )
