"""Translates errors of an SSH connection: one table from paramiko's exceptions to ours.

Refusals of single files by the SFTP server are not handled here: their meaning depends on the request (``storage``).
"""

from __future__ import annotations

import socket
import struct

from paramiko import ssh_exception

from lemmy_safety.errors import (
    HostKeyChanged,
    HostUnknown,
    LoginRefused,
    PrivateKeyError,
    StorageError,
    StorageUnreachable,
)
from lemmy_safety.foreign import foreign
from lemmy_safety.storage.ssh.sftp_wire import SftpBroken

#: What parsing raises for packets in another form than paramiko, or ``sftp``, expects. paramiko's own thread stops
#: at them and passes them to the waiting call.
ANSWER_ERRORS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, struct.error)

#: Every exception class of paramiko and of the sockets below it, with ours. The nearest base class decides; a test
#: finds classes that a new paramiko adds.
VENDOR_ERRORS: dict[type[BaseException], type[StorageError]] = {
    ssh_exception.SSHException: StorageUnreachable,
    ssh_exception.AuthenticationException: LoginRefused,
    ssh_exception.BadAuthenticationType: LoginRefused,
    ssh_exception.PartialAuthentication: LoginRefused,
    ssh_exception.UnableToAuthenticate: LoginRefused,
    ssh_exception.PasswordRequiredException: PrivateKeyError,
    ssh_exception.BadHostKeyException: HostKeyChanged,
    ssh_exception.ChannelException: StorageUnreachable,
    ssh_exception.NoValidConnectionsError: StorageUnreachable,
    # No common cipher, or a peer that breaks the protocol's rules: a retry meets the same server again.
    ssh_exception.IncompatiblePeer: StorageError,
    ssh_exception.MessageOrderError: StorageError,
    # Translated where they can occur (ssh_config), or from a part of paramiko that is not used here (proxy commands).
    ssh_exception.ProxyCommandFailure: StorageError,
    ssh_exception.ConfigParseError: StorageError,
    ssh_exception.CouldNotCanonicalize: StorageError,
    SftpBroken: StorageUnreachable,
    EOFError: StorageUnreachable,
    OSError: StorageUnreachable,
    socket.gaierror: HostUnknown,
    **dict.fromkeys(ANSWER_ERRORS, StorageUnreachable),
    UnicodeDecodeError: StorageUnreachable,
    # A host name that cannot be looked up at all: an empty part, or one longer than 63 characters.
    UnicodeError: HostUnknown,
}

#: What a failing connection can raise; all of these are keys of the table.
CONNECTION_ERRORS = (ssh_exception.SSHException, SftpBroken, EOFError, OSError, *ANSWER_ERRORS)


def translate(error: BaseException, where: str) -> StorageError:
    """Our error for an exception in the table; ``where`` names user, host and port."""
    kind = next(VENDOR_ERRORS[base] for base in type(error).__mro__ if base in VENDOR_ERRORS)
    if isinstance(error, TimeoutError):
        cause = "no answer in time"
    else:
        cause = foreign(error).strip().rstrip(".") or type(error).__name__
    if kind is HostUnknown:
        return kind(f"The name of the SSH server {where} does not resolve: {cause}.")
    return kind(f"The SSH connection to {where} failed: {cause}.")
