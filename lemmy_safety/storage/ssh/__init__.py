"""A folder on another machine, through paramiko's connections and an SFTP client of our own.

From the outside in: ``storage`` is the contract fulfilled; ``listing`` lists by find or SFTP, ``tree`` changes files
without following links; ``sftp`` asks many things of a session at once, in the packets of ``sftp_wire``; ``connection``
keeps sessions and renews what breaks, over each ``link``; ``no_sftp`` says why a server opens none; ``login`` opens one connection, with ``known_hosts`` and ``private_keys``;
``errors`` says what paramiko's exceptions mean.
"""

from lemmy_safety.storage.ssh.storage import SshStorage

__all__ = ["SshStorage"]
