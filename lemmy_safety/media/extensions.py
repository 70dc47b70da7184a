"""A storage key's extension against what the bytes are. The bytes decide everything else; this only notes a mismatch.

pict-rs names originals and variants by what it found in them (``.jpeg``, ``.webp``, ...), keys from before 0.5.7 have
no extension, and a pict-rs in its dummy mode calls everything ``.png``. Other sources have their own
habits, so interchangeable extensions do not count as a mismatch: a JPEG is ``.jfif`` to Windows, a QuickTime video
``.mp4`` to many.
"""

from __future__ import annotations

from typing import Final

from lemmy_safety.media import sniff
from lemmy_safety.records import Anomaly, AnomalyKind

_BOXED_VIDEO: Final = frozenset(kind.media_type for kind in (sniff.MP4, sniff.QUICKTIME, sniff.THREE_GP))
_BOXED_PICTURE: Final = frozenset(kind.media_type for kind in (sniff.HEIC, sniff.AVIF))
_MATROSKA: Final = frozenset(kind.media_type for kind in (sniff.WEBM, sniff.MATROSKA))
_PNG: Final = frozenset(kind.media_type for kind in (sniff.PNG, sniff.APNG))
_MPEG: Final = frozenset(kind.media_type for kind in (sniff.MPEG, sniff.MPEG_TS))
_OGG: Final = frozenset({sniff.OGG.media_type, sniff.AUDIO.media_type})


def _only(*kinds: sniff.Kind) -> frozenset[str]:
    return frozenset(kind.media_type for kind in kinds)


# What each extension may contain. An unlisted extension is ignored.
_MEANINGS: Final[dict[str, frozenset[str]]] = {
    extension: media_types
    for extensions, media_types in (
        ("jpg jpeg jpe jfif jif pjpeg pjp mpo", _only(sniff.JPEG)),
        ("png apng", _PNG),
        ("gif", _only(sniff.GIF)),
        ("webp", _only(sniff.WEBP)),
        ("avif avifs heic heif heics heifs hif", _BOXED_PICTURE),
        ("jxl", _only(sniff.JXL)),
        ("bmp dib", _only(sniff.BMP)),
        # Raw pictures of most cameras are TIFF files.
        ("tif tiff dng nef arw cr2 pef srw", _only(sniff.TIFF)),
        ("jp2 j2k jpf jpx jpm j2c jpc", _only(sniff.JPEG2000)),
        ("ico cur", _only(sniff.ICON)),
        ("psd psb", _only(sniff.PSD)),
        ("svg", _only(sniff.SVG)),
        ("mp4 m4v mov qt f4v 3gp 3g2", _BOXED_VIDEO),
        ("webm mkv", _MATROSKA),
        # Imgur's name for a GIF that it serves as a video.
        ("gifv", _BOXED_VIDEO | _MATROSKA | _only(sniff.GIF)),
        ("avi", _only(sniff.AVI)),
        ("ogv ogg ogm ogx", _OGG),
        ("flv", _only(sniff.FLASH_VIDEO)),
        ("mpg mpeg m1v m2v vob ts mts m2ts", _MPEG),
        ("wmv asf", _only(sniff.WINDOWS_MEDIA)),
        ("mp3 m4a aac flac wav oga opus", _only(sniff.AUDIO)),
        ("pdf", _only(sniff.PDF)),
        ("zip rar 7z gz jar", _only(sniff.ARCHIVE)),
        ("html htm", _only(sniff.HTML)),
        ("txt js php", _only(sniff.TEXT, sniff.HTML, sniff.XML)),
        ("exe dll so", _only(sniff.PROGRAM)),
    )
    for extension in extensions.split()
}


def lying_extension(key: str, media_type: str) -> Anomaly | None:
    """The anomaly that a key's extension names another kind of file than its bytes are; None if it does not.

    ``media_type`` is that of the sniffed kind. There is no anomaly for a key without an extension or with an unknown
    one, nor for a file of unknown kind.
    """
    name = key.rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    meant = _MEANINGS.get(extension.lower()) if stem and dot else None
    if meant is None or media_type in meant or media_type == sniff.UNKNOWN.media_type:
        return None
    detail = f"its name ends in .{extension.lower()}, and it is {media_type}"
    return Anomaly(kind=AnomalyKind.LYING_EXTENSION, detail=detail)
