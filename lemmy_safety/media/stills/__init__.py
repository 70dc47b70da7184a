"""Pictures that do not move: how each kind is read, and what can be shown of a damaged one.

``still`` is the entry point. ``formats`` lists the kinds and their readers (``jxl`` is one of them), ``reading`` is one
try at the pages of a file, ``salvage`` the tries that follow if that fails: ``repair`` rewrites the file,
``second_decoder`` is FFmpeg, ``interlace`` fills missing passes.
"""
