"""Pictures that do not move: who reads which kind, and what can be shown of a damaged one.

``still`` is the way in. ``formats`` is the list of kinds and their readers (``jxl`` is one of them), ``reading`` one try
at the pages of a file, ``salvage`` the tries that follow when that fails: ``repair`` rewrites the file,
``second_decoder`` is FFmpeg, ``interlace`` fills the passes that are missing.
"""
