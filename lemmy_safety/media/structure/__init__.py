"""The structure of each container: where its medium ends, and what it contains besides the picture.

One module per format, each with one walk over the bytes. No walk raises, whatever the bytes are; each has a limited
number
of steps and takes time in proportion to the file. Nothing here decodes a pixel or says whether a find is good or bad.
"""
