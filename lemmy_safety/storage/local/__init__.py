"""A folder on this machine.

``storage`` is the contract fulfilled, ``walk`` the listing, ``errors`` what the operating systems' refusals mean.
"""

from lemmy_safety.storage.local.storage import LocalStorage

__all__ = ["LocalStorage"]
