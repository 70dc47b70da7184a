"""Finds and names what a file contains besides what it shows. Decodes nothing.

``search`` is the entry point. ``embedded`` finds pictures and videos, by ``signatures`` anywhere in the bytes and by
the
``previews`` that metadata declare; ``attachments`` are archives, programs and other files.
"""
