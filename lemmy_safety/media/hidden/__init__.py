"""What lies in a file beside what it shows. Finds and names it, and decodes nothing.

``search`` is the way in. ``embedded`` finds pictures and videos, by ``signatures`` anywhere in the bytes and by the
``previews`` that metadata declare; ``attachments`` are archives, programs and other files.
"""
