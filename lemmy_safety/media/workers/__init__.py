"""Decoding in processes of its own, because strangers choose the bytes: a crash costs one medium and nothing else.

``pool`` is the decoder that the program holds, ``process`` one process as the program sees it, ``messages`` what the two
say to each other. ``main`` is the inside of a process, ``confinement`` what that does to itself first. Nothing here is
imported by what decodes.
"""
