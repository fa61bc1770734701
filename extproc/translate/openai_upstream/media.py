"""A provider that refuses images or documents, in words that make Claude Code go on without them.

The session would end otherwise: the block stays in the history, so every later turn is refused as well.
"""

import re

from extproc.translate.capability import Capability

_STATUSES = frozenset((400, 404, 415, 422, 500, 501, 502))
# DeepSeek's parser, vLLM, llama.cpp and Ollama, OpenRouter, Groq and others.
_IMAGE = re.compile(
    r"unknown variant `?'?image_url|at most 0 image|not a multimodal model|missing data required for image input"
    r"|(?:not|n't|found that) support(?:ed)?\b[^.;]{0,40}\b(?:image|vision)"
    r"|\b(?:image|vision)[^.;]{0,60}\b(?:not supported|unsupported)|\bunsupported[^.;]{0,20}\bimage",
    re.IGNORECASE,
)
_DOCUMENT = re.compile(
    r"unknown variant `?'?file\b|\bfile (?:input|content)s? [^.;]{0,20}\b(?:not supported|unsupported)"
    r"|(?:not|n't|found that) support(?:ed)?\b[^.;]{0,40}\b(?:pdf|document|file input)"
    r"|\b(?:pdf|document)s?\b[^.;]{0,60}\b(?:not supported|unsupported)|\bunsupported[^.;]{0,20}\b(?:pdf|document)",
    re.IGNORECASE,
)


def refused_block(message: str, status: int) -> Capability | None:
    """The kind of block that the message refuses, if it does."""
    if status not in _STATUSES:
        return None
    if _IMAGE.search(message):
        return "image_block"
    return "document_block" if _DOCUMENT.search(message) else None
