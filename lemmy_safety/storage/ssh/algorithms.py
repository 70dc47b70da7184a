"""A server and this program without a common algorithm: which kind it is, and what either side offers."""

from __future__ import annotations

from typing import Any

import paramiko

from lemmy_safety.errors import StorageError
from lemmy_safety.foreign import foreign

#: A word in paramiko's error; the kind's name; its lines in sshd_config; its list in the server's greeting; ours.
_KINDS = (
    ("kex", "key exchange", "KexAlgorithms", "kex_algo_list", "kex"),
    ("host key", "host key", "HostKeyAlgorithms (and HostKey)", "server_key_algo_list", "key_types"),
    ("cipher", "cipher", "Ciphers", "server_encrypt_algo_list", "ciphers"),
    ("mac", "MAC", "MACs", "server_mac_algo_list", "digests"),
    ("compression", "compression", "Compression", "server_compress_algo_list", "compression"),
)


#: Names in the list of key exchanges that are not algorithms (RFC 8308; OpenSSH's PROTOCOL, 1.9).
_SIGNALS = ("ext-info-", "kex-strict-")


class Transport(paramiko.Transport):
    """paramiko's transport, which also keeps the server's offer: paramiko's own error does not include it."""

    def __init__(self, sock: Any) -> None:
        self.offered: dict[str, Any] = {}
        super().__init__(sock)

    def _really_parse_kex_init(self, m: paramiko.Message, ignore_first_byte: bool = False) -> dict[str, Any]:
        # Not called if a later paramiko works differently; then the message is shorter.
        parsed: dict[str, Any] = super()._really_parse_kex_init(m, ignore_first_byte)  # type: ignore[misc]
        if not ignore_first_byte:
            self.offered = parsed
        return parsed


def nothing_in_common(transport: Transport, error: BaseException, where: str) -> StorageError:
    """Our error for paramiko's IncompatiblePeer: waiting does not help, a line in sshd_config does."""
    complaint = str(error).lower()
    for sign, name, lines, theirs, ours in _KINDS:
        if sign in complaint:
            names = [each for each in transport.offered.get(theirs, ()) if not each.startswith(_SIGNALS)]
            known = getattr(transport.get_security_options(), ours)
            return StorageError(
                f"The SSH server {where} and lemmy-safety have no {name} algorithm in common: the server offers "
                f"{', '.join(names) or 'others'}; known here are {', '.join(known)}.",
                hint=f"Add one of these to {lines} in its sshd_config.",
            )
    return StorageError(
        f"The SSH server {where} and lemmy-safety cannot talk to each other: {foreign(error)}.", hint=""
    )
