"""Where objects live: one contract (``base``), and a folder for each kind of place: ``s3``, ``ssh``, ``local``.

This room lists, reads, moves and deletes; it decides nothing, records nothing and keeps no image byte. The kinds do not
know each other and are imported where they are wired, so that none of their libraries is loaded for free. What they
share lies beside them: ``names`` (paths and keys), ``wanted_keys`` (which part of a tree a listing may look at),
``listers`` (threads that list), ``probing`` (doctor's steps).
"""
