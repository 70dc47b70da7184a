"""A folder on this machine.

``storage`` implements the contract, ``tree`` reaches every file from the root (through a ``folder`` that is held open),
``walk`` lists, ``errors`` explains the operating systems' refusals.
"""

from lemmy_safety.storage.local.storage import LocalStorage

__all__ = ["LocalStorage"]
