"""Bytes to frames, or a typed refusal. This room knows no storage, no detector and no verdict.

Importing it imports Pillow and numpy, so entry points and wiring import it late.
"""

from lemmy_safety.media.base import DecodedMedia, Decoder, MediaLimits
from lemmy_safety.media.decoding import DECODER_VERSION, InlineDecoder, decode

__all__ = ["DECODER_VERSION", "DecodedMedia", "Decoder", "InlineDecoder", "MediaLimits", "decode"]
