"""How each container is built: where its medium ends, and what lies in it beside the picture.

One module a format, each with one walk over the bytes. No walk raises, whatever the bytes are; each is bounded in steps
and takes time in proportion to the file. Nothing here decodes a pixel or says whether anything found is good or bad.
"""
