"""Images and PDFs of a request's body, found in one walk through its messages.

Rules decide by this, so whatever a lax provider might take for an image is one here, and a file that does not say what
it is may be an image and a PDF.
"""

import re
from typing import Any

from extproc.wire.lenient import values_of
from extproc.wire.media_tokens import image_tokens, pdf_tokens

Json = dict[str, Any]

# Each of them may hold parts of a message within a part: results of tools, documents made of parts.
_NESTED = ("content", "source", "output")
_IMAGE = ("image", "input_image", "video", "input_video")
# A file, in the forms of Chat Completions, Responses and Gemini.
_FILE = frozenset({"file", "input_file", "inline_data", "inlinedata", "file_data", "filedata", "media"})
_PLAIN = frozenset({"role", "content", "type", "text", "cache_control", "id", "name", "tool_use_id", "is_error"})
_PLAIN_TYPES = (None, "text", "message", "tool_result", "input_text", "output_text")
_PLAIN_SOURCE = frozenset({"type", "media_type", "data", "url"})
_PLAIN_SOURCE_TYPES = ("base64", "url", "text")
_MEDIA_TYPE = frozenset({"media_type", "mediatype", "mime_type", "mimetype"})
_DATA_URL = re.compile(r"data:([^;,]*)", re.IGNORECASE)
_IMAGE_TYPES = ("image/", "video/")
_PDF_TYPES = frozenset({"application/pdf", "application/x-pdf", "application/octet-stream"})
_CAPTIONS = ("title", "context")
_URL = re.compile(r"[a-z0-9]+://", re.IGNORECASE)
_SHORTEST_PDF = 256
"""Characters of base64; what is shorter is an id."""


class Media:
    """What the messages of a body hold besides text."""

    def __init__(self, messages: list[Any]) -> None:
        """`messages`: also system prompts; of any type."""
        self.has_images = False
        self.has_pdf = False
        self.size = 0
        """Characters of base64 and URLs."""
        self.tokens = 0
        """Estimated for all images and PDFs together."""
        self._counted: set[int] = set()
        """Ids of objects within images and PDFs."""
        waiting = [*messages]
        while waiting:
            part = waiting.pop()
            if isinstance(part, list):
                waiting += part
            elif isinstance(part, dict) and _is_plain(part):
                waiting.append(part.get("content"))
            elif isinstance(part, dict) and not (id(part) in self._counted and _is_plain_source(part)):
                self._add(part)
                waiting += values_of(part, *_NESTED)

    def _add(self, part: Json) -> None:
        types = [kind.casefold() for kind in values_of(part, "type") if isinstance(kind, str)]
        # vLLM goes by the member where there is no type.
        names = {*types, *(name.casefold() for name in part)}
        media_types, data = _types_and_data(part)
        unknown_file = not media_types and not _FILE.isdisjoint(names)
        is_image = (
            unknown_file
            or any(name.startswith(_IMAGE) for name in names)
            or any(kind.startswith(_IMAGE_TYPES) for kind in media_types)
        )
        unknown_document = not media_types and "document" in types and not _is_text_document(part)
        is_pdf = unknown_file or unknown_document or not _PDF_TYPES.isdisjoint(media_types)
        self.has_images |= is_image
        if id(part) not in self._counted:
            self.has_pdf |= is_pdf
            if is_image or is_pdf:
                self._counted.update(id(value) for value in part.values() if isinstance(value, dict))
                self._count(data, is_image)

    def _count(self, data: str, is_image: bool) -> None:
        self.size += len(data)
        if is_image:
            self.tokens += image_tokens(data)
        else:
            self.tokens += pdf_tokens(None if len(data) < _SHORTEST_PDF or _URL.match(data) else data)


def _is_plain(part: Json) -> bool:
    """Most parts are: a turn, a text, a call or its result."""
    return part.keys() <= _PLAIN and part.get("type") in _PLAIN_TYPES


def _is_plain_source(part: Json) -> bool:
    """Nothing in it but what was read with the image or PDF that it belongs to."""
    return part.keys() <= _PLAIN_SOURCE and part.get("type") in _PLAIN_SOURCE_TYPES


def _is_text_document(part: Json) -> bool:
    """https://platform.claude.com/docs/en/build-with-claude/citations"""
    sources = [source for source in values_of(part, "source") if isinstance(source, dict)]
    return bool(sources) and all(source.get("type") in ("text", "content") for source in sources)


def _types_and_data(part: Json) -> tuple[set[str], str]:
    """The media types that a part, or an object right within it, is said to have, and its longest string that is no
    text: the data, or where it is."""
    types: set[str] = set()
    data = ""
    for holder in (part, *(value for value in part.values() if isinstance(value, dict))):
        for name, value in holder.items():
            if not isinstance(value, str) or (folded := name.casefold()) in ("text", "content"):
                continue
            if folded in _MEDIA_TYPE:
                types.add(value.strip().casefold())
            elif found := _DATA_URL.match(value):
                types.add(found[1].strip().casefold())
            if len(value) > len(data) and folded not in _CAPTIONS:
                data = value
    return types, data
