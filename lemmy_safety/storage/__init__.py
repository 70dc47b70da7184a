"""Where objects live: one contract (``base``), and a folder for each kind of place: ``s3``, ``ssh``, ``local``.

This room lists, reads, writes, moves and deletes; it decides nothing, records nothing and keeps no image byte. The kinds
do not know each other and are imported where they are wired, so that none of their libraries is loaded for free.

Over the contract: ``incremental`` (listing what is new), ``probing`` (doctor's steps), ``wrong_folder`` (folders that are
refused). What the kinds share: ``names`` (paths and keys), ``parts`` (files that are being written), ``wanted_keys`` (which
part of a tree a listing may look at), ``listers`` (threads that list), ``judged`` (what must hold before a deletion). What a
storage remembers: ``learned``, ``wholeness``, ``clock``.
"""
