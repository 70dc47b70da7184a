"""A server that shares no algorithm with us is named with both lists, and is not waited for."""

from __future__ import annotations

import pytest
from support.servers.sshd import open_backend

from lemmy_safety.errors import StorageError

pytestmark = pytest.mark.external_service


@pytest.mark.parametrize(
    ("option", "kind", "theirs", "ours"),
    [
        ("Ciphers chacha20-poly1305@openssh.com", "cipher", "chacha20-poly1305@openssh.com", "aes256-ctr"),
        ("KexAlgorithms sntrup761x25519-sha512@openssh.com", "key exchange", "sntrup761", "curve25519-sha256"),
        ("MACs umac-128-etm@openssh.com", "MAC", "umac-128-etm@openssh.com", "hmac-sha2-256"),
        ("HostKeyAlgorithms ssh-rsa", "host key", "ssh-rsa", "ssh-ed25519"),
    ],
)
def test_nothing_in_common_is_said_with_both_sides(option: str, kind: str, theirs: str, ours: str) -> None:
    """Which kind of algorithm it is, what the server offers, what is known here, and the line to change."""
    types = ["rsa"] if "HostKey" in option else ["ed25519"]
    more = ["Ciphers aes256-ctr"] if kind == "MAC" else []
    with (
        open_backend("ssh", [option, *more], host_key_types=types) as backend,
        pytest.raises(StorageError) as caught,
    ):
        backend.storage().open()
    assert type(caught.value) is StorageError
    assert f"no {kind} algorithm in common" in caught.value.message
    offered, known = caught.value.message.split("known here are")
    assert theirs in offered
    assert ours in known
    assert option.split(maxsplit=1)[0] in caught.value.hint
