"""Decoded pictures: what a viewer shows of them, how alike they are, which parts of them are looked at. Knows no file.

``rendering`` makes a frame of a picture, in the ``colours`` that its profile asks for. ``likeness`` compares,
``complexity`` finds frames that show nothing, ``views`` cuts the parts that a classifier would not see.
"""
