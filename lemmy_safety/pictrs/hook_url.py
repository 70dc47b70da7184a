"""How to tell pict-rs the address of the upload hook, in words. Uses no network."""

from __future__ import annotations

import ipaddress

_UNSPECIFIED = "<IP address of this machine>"
_SECRET = "<HOOK_SECRET>"  # noqa: S105 - shown instead of the secret


def pictrs_setting(host: str, port: int, *, secret: bool) -> str:
    """What to put into pict-rs's environment for a hook that listens on ``host`` (an IP address) and ``port``.

    The secret itself is not shown. From 0.5.21 on pict-rs refuses host names that resolve to private addresses
    (``localhost``, a compose service): every upload then fails with 500 ``http-client-error`` and the hook is never
    called.
    It does not look up IP addresses, so these work. Source: pict-rs 0.5.25 src/lib.rs; ``tests/e2e/test_pictrs.py``.
    """
    address = ipaddress.ip_address(host)
    where = _UNSPECIFIED if address.is_unspecified else f"[{host}]" if address.version == 6 else host  # noqa: PLR2004
    path = f"/validate/{_SECRET}" if secret else "/validate"
    return (
        f"for pict-rs: PICTRS__MEDIA__EXTERNAL_VALIDATION=http://{where}:{port}{path} "
        "(by IP address: with a host name that resolves to a private one, pict-rs 0.5.21 and later fail every upload)"
    )
