"""An estimate of a request's tokens, answered without asking any model."""

import base64
import binascii
import math
import struct
from typing import Any

import msgspec

from extproc.errors import Rejection
from extproc.translate import want
from extproc.translate.dialects import chat, responses
from extproc.translate.dialects.messages.read_request import read_request
from extproc.translate.pair import Target
from extproc.translate.want import Json
from extproc.translate.warnings import Warnings
from extproc.wire import Dialect, untrusted

BYTES_PER_TOKEN = 4
PER_MESSAGE = 4
IMAGE_MAX = 1600
PIXELS_PER_TOKEN = 750
PDF_TOKENS_PER_BYTE = 1500 / 100_000
_HEADER_CHARS = 64 * 1024


def estimate(body: Json, to: Target, dialect: Dialect = "chat") -> int | Rejection:
    """Tokens of a Messages request as a provider of this dialect would get it; refuses what translation would."""
    return want.attempt(lambda: _estimated(body, to, dialect))


def request_to_count(body: Json, to: Target, dialect: Dialect, warnings: Warnings) -> Json:
    """The provider's request for a Messages client's, without what only steers the answer. Raises Refused."""
    conversation = read_request(body, to, warnings, counting=True)
    provider = responses.PROVIDER if dialect == "responses" else chat.PROVIDER
    written: Json = untrusted.decode(provider.write_request(conversation, to, warnings).body)
    return written


def _estimated(body: Json, to: Target, dialect: Dialect) -> int:
    upstream = request_to_count(body, to, dialect, Warnings(to.profile.strictness))
    return math.ceil(_tokens(upstream, len(body["messages"])) * to.profile.estimate_factor)


def _tokens(upstream: Json, messages: int) -> int:
    counted = _Count()
    counted.text(upstream.get("instructions", ""))
    for message in upstream.get("messages", ()):
        counted.message(message)
    for item in upstream.get("input", ()):
        counted.item(item)
    if functions := upstream.get("tools"):
        counted.size += len(msgspec.json.encode(functions))
    return math.ceil(counted.size / BYTES_PER_TOKEN) + counted.extra + PER_MESSAGE * messages


class _Count:
    """Bytes of text, and tokens of what is no text."""

    def __init__(self) -> None:
        self.size = 0
        self.extra = 0

    def message(self, message: Json) -> None:
        self.content(message["content"])
        for call in message.get("tool_calls", ()):
            self.text(call["function"]["name"])
            self.text(call["function"]["arguments"])
        for key in ("reasoning_content", "reasoning"):
            self.text(message.get(key, ""))

    def item(self, item: Json) -> None:
        """Of a Responses request. What is encrypted has a size of its own, which nobody here knows."""
        for member in ("content", "output", "summary"):
            self.content(item.get(member))
        for member in ("name", "arguments"):
            self.text(item.get(member, ""))

    def content(self, content: Any) -> None:
        if isinstance(content, str):
            self.text(content)
        for part in content if isinstance(content, list) else ():
            self.part(part)

    def text(self, text: str) -> None:
        self.size += len(text.encode())

    def part(self, part: Json) -> None:
        match part["type"]:
            case "text" | "input_text" | "summary_text":
                self.text(part["text"])
            case "image_url":
                self.extra += image_tokens(part["image_url"]["url"])
            case "input_image":
                self.extra += image_tokens(part["image_url"])
            case "file":
                self.extra += file_tokens(part["file"])
            case "input_file":
                self.extra += file_tokens(part)
            case _:  # Mistral's thinking
                self.content(part.get("thinking"))


def file_tokens(file: Json) -> int:
    """By size; a PDF that is only named by its URL counts as one of 100 kB."""
    data: str | None = file.get("file_data")
    if data is None:
        return math.ceil(PDF_TOKENS_PER_BYTE * 100_000)
    return math.ceil((len(data) - data.find(",") - 1) * 3 / 4 * PDF_TOKENS_PER_BYTE)


def image_tokens(url: str) -> int:
    """By width and height where the picture's header tells them, else the most an image can cost."""
    head, _, data = url.partition(",")
    if not head.startswith("data:"):
        return IMAGE_MAX
    size = _dimensions(_decode(data[:_HEADER_CHARS]))
    return IMAGE_MAX if size is None else min(IMAGE_MAX, math.ceil(size[0] * size[1] / PIXELS_PER_TOKEN))


def _decode(data: str) -> bytes:
    try:
        return base64.b64decode(data[: len(data) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""


def _dimensions(raw: bytes) -> tuple[int, int] | None:
    if raw.startswith(b"\x89PNG\r\n\x1a\n") and len(raw) >= 24:
        return struct.unpack(">II", raw[16:24])
    if raw[:6] in (b"GIF87a", b"GIF89a") and len(raw) >= 10:
        return struct.unpack("<HH", raw[6:10])
    if raw.startswith(b"\xff\xd8"):
        return _jpeg(raw)
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        return _webp(raw)
    return None


def _jpeg(raw: bytes) -> tuple[int, int] | None:
    """Walks the segments to the frame header."""
    at = 2
    while at + 9 <= len(raw) and raw[at] == 0xFF:
        marker, length = raw[at + 1], int.from_bytes(raw[at + 2 : at + 4], "big")
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
    if raw[12:16] == b"VP8X":
        return 1 + int.from_bytes(raw[24:27], "little"), 1 + int.from_bytes(raw[27:30], "little")
    if raw[12:16] == b"VP8L":
        bits = int.from_bytes(raw[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", raw[26:30])
    return width & 0x3FFF, height & 0x3FFF
