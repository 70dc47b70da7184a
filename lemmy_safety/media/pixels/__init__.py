"""Decoded pictures: how a viewer sees them, how similar they are, which parts to examine. Knows no files.

``rendering`` makes a frame from a picture, in the ``colours`` of its profile. ``likeness`` compares,
``complexity`` finds frames that show nothing, ``views`` cuts out the parts that a classifier would not see.
"""
