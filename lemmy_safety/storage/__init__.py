"""Where objects live: one contract (``base``), and a folder for each kind of place: ``s3``, ``ssh``, ``local``.

This room lists, reads, writes, moves and deletes; it decides nothing, records nothing and keeps no image byte. The
kinds
do not know each other and are imported where they are wired, so that their libraries are loaded only when needed.

Built on the contract: ``incremental`` (listing what is new), ``probing`` (doctor's steps), ``wrong_folder`` (refused
folders). Shared by the kinds: ``names`` (paths and keys), ``parts`` (files being written), ``wanted_keys`` (which
part of a tree a listing may visit), ``listers`` (threads that list), ``judged`` (what must be true before a deletion).
State that a storage keeps: ``learned``, ``wholeness``, ``clock``.
"""
