"""A folder on another machine, through paramiko's connections and an SFTP client of our own.

From the outside in: ``storage`` implements the contract; ``find`` or ``sftp_listing`` list, ``tree`` changes files
without following links; ``sftp`` makes many requests in a session at once (the bytes of a file: ``sftp_transfer``,
names in
folders: ``sftp_folders``), in the packets of ``sftp_wire``; ``connection`` keeps sessions and renews broken ones, over
one
or more of ``link``; ``no_sftp`` explains why a server opens no session.

``route`` makes the ``login`` of a server and of each jump host before it, from the settings and from ``ssh_config``
(with
``config_text`` and ``match_exec``): how to reach it (``hops``), whom to trust (``known_hosts``, ``certificates``) and
what
to log in with (``private_keys``, ``key_files``). ``errors`` translates paramiko's exceptions, ``algorithms`` one of
them.
"""

from lemmy_safety.storage.ssh.ssh_config import read_ssh_config
from lemmy_safety.storage.ssh.storage import SshStorage
from lemmy_safety.storage.ssh.tunnel import SshTunnel

__all__ = ["SshStorage", "SshTunnel", "read_ssh_config"]
