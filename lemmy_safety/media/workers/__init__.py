"""Decoding in separate processes, because strangers choose the bytes: a crash costs one medium and nothing else.

``pool`` is the decoder that the program uses, ``process`` one process as the program sees it, ``messages`` their
protocol. ``main`` runs inside a process, ``confinement`` is what it first does to itself. The decoding modules import
nothing from here.
"""
