"""A folder on this machine.

``storage`` is the contract fulfilled, ``tree`` reaches every file from the root (over a ``folder`` that is held open),
``walk`` is the listing, ``errors`` what the operating systems' refusals mean.
"""

from lemmy_safety.storage.local.storage import LocalStorage

__all__ = ["LocalStorage"]
