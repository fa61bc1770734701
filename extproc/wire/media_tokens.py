"""Tokens that an image or a PDF takes up, estimated from its bytes (docs/mapping.md 5.6)."""

import base64
import binascii
import math
import struct

BYTES_PER_TOKEN = 4
"""UTF-8 bytes of text for one token, on the average."""
IMAGE_MAX = 1600
# Anthropic's own estimate, and what it scales larger images down to:
# https://platform.claude.com/docs/en/build-with-claude/vision#calculate-image-costs.
_PIXELS_PER_TOKEN = 750
# 1,500 to 3,000 tokens a page (https://platform.claude.com/docs/en/build-with-claude/pdf-support#estimate-your-costs);
# here 100 KB count as a page.
_PDF_TOKENS_PER_BYTE = 1500 / 100_000
_PDF_BYTES = 100_000
"""The size of a PDF that is only named."""
_HEADER_CHARS = 64
# A JPEG's size may come after a preview or a colour profile.
_JPEG_CHARS = 64 * 1024
_JPEG = b"\xff\xd8"
# A media type and its parameters stand before the comma of a data URL.
_URL_CHARS = 256


def pdf_tokens(data: str | None) -> int:
    """By size. `data`: base64, also in a data URL; None where the file is only named."""
    size = _PDF_BYTES if data is None else (len(data) - _begin(data)) * 3 / 4
    return math.ceil(size * _PDF_TOKENS_PER_BYTE)


def image_tokens(data: str) -> int:
    """By width and height where the picture's header tells them, else the most an image can cost.

    `data`: base64, also in a data URL; or another URL, of whose picture nothing is known."""
    begin = _begin(data)
    raw = _decode(data[begin : begin + _HEADER_CHARS])
    size = _dimensions(_decode(data[begin : begin + _JPEG_CHARS]) if raw.startswith(_JPEG) else raw)
    return IMAGE_MAX if size is None else min(IMAGE_MAX, math.ceil(size[0] * size[1] / _PIXELS_PER_TOKEN))


def _begin(data: str) -> int:
    """Where the base64 begins."""
    return data.find(",", 0, _URL_CHARS) + 1 if data[:5].lower() == "data:" else 0


def _decode(data: str) -> bytes:
    try:
        return base64.b64decode(data[: len(data) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""


def _dimensions(raw: bytes) -> tuple[int, int] | None:
    if raw.startswith(b"\x89PNG\r\n\x1a\n") and len(raw) >= 24:
        # The first chunk is IHDR, which begins with width and height: https://www.w3.org/TR/png-3/#11IHDR.
        return struct.unpack(">II", raw[16:24])
    if raw[:6] in (b"GIF87a", b"GIF89a") and len(raw) >= 10:
        return struct.unpack("<HH", raw[6:10])
    if raw.startswith(_JPEG):
        return _jpeg(raw)
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        return _webp(raw)
    return None


def _jpeg(raw: bytes) -> tuple[int, int] | None:
    """Walks the segments to the frame header."""
    at = 2
    while at + 9 <= len(raw) and raw[at] == 0xFF:
        marker, length = raw[at + 1], int.from_bytes(raw[at + 2 : at + 4], "big")
        # The frame headers, of which three numbers mean something else: https://www.w3.org/Graphics/JPEG/itu-t81.pdf,
        # table B.1.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", raw[at + 5 : at + 9])
            return width, height
        if length < 2:
            return None
        at += 2 + length
    return None


def _webp(raw: bytes) -> tuple[int, int] | None:
    if len(raw) < 30:
        return None
    # The three kinds of WebP: https://developers.google.com/speed/webp/docs/riff_container,
    # https://www.rfc-editor.org/rfc/rfc9649.
    # The first two hold each size less one, in 24 and in 14 bits; VP8 holds it in 14, below two bits of a scale.
    if raw[12:16] == b"VP8X":
        return 1 + int.from_bytes(raw[24:27], "little"), 1 + int.from_bytes(raw[27:30], "little")
    if raw[12:16] == b"VP8L":
        bits = int.from_bytes(raw[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", raw[26:30])
    return width & 0x3FFF, height & 0x3FFF
