"""What goes wrong on an SSH connection, in our words: one table from paramiko's exceptions to ours.

Refusals of single files by the SFTP server are not handled here: what they mean depends on what was asked for (``storage``).
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

#: What parsing raises on packets that are not of the form that paramiko, or ``sftp``, expects. paramiko's own thread stops
#: on them and hands them to the call that waits.
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
    # Translated where they can occur (ssh_config), or of a part of paramiko that is not used here (proxy commands).
    ssh_exception.ProxyCommandFailure: StorageError,
    ssh_exception.ConfigParseError: StorageError,
    ssh_exception.CouldNotCanonicalize: StorageError,
    SftpBroken: StorageUnreachable,
    EOFError: StorageUnreachable,
    OSError: StorageUnreachable,
    socket.gaierror: HostUnknown,
    **dict.fromkeys(ANSWER_ERRORS, StorageUnreachable),
    UnicodeDecodeError: StorageUnreachable,
    # A host name that cannot even be asked for: an empty part, or one longer than 63 characters.
    UnicodeError: HostUnknown,
}

#: What can come out of a connection that fails; all of these are keys of the table.
CONNECTION_ERRORS = (ssh_exception.SSHException, SftpBroken, EOFError, OSError, *ANSWER_ERRORS)


def translate(error: BaseException, where: str) -> StorageError:
    """Our error for an exception of the table; ``where`` names user, host and port."""
    kind = next(VENDOR_ERRORS[base] for base in type(error).__mro__ if base in VENDOR_ERRORS)
    if isinstance(error, TimeoutError):
        cause = "no answer in time"
    else:
        cause = foreign(error).strip().rstrip(".") or type(error).__name__
    if kind is HostUnknown:
        return kind(f"The name of the SSH server {where} does not resolve: {cause}.")
    return kind(f"The SSH connection to {where} failed: {cause}.")
