"""Refusals of a prompt that is too long, of images and of documents, in words on which Claude Code goes on
(docs/mapping.md 5.2).

The client (from 2.1.332) looks for the token in the message of an error: it compacts, or replaces the blocks by a note.
Otherwise the session would end: the block stays in the history, so that every later turn is refused as well.
"""

import re
from typing import Literal

from extproc.translate.provider_error import ProviderError

Capability = Literal["prompt_too_long", "document_block", "image_block"]


def rejected(message: str, capability: Capability) -> str:
    """The message with its token."""
    token = f"capability_rejected: {capability}"
    return message if token in message else f"{message} ({token})"


_PREFIX = "prompt is too long"
# Anthropic's own wording of a max_tokens that does not fit: clients lower it and go on.
_OUTPUT_TOO_LARGE = "input length and `max_tokens` exceed context limit"
_OVERFLOW_STATUSES = frozenset((400, 413, 422, 500))
_CODES = frozenset((
    "context_length_exceeded", "exceed_context_size_error", "model_max_prompt_tokens_exceeded", "context_too_large",
    "too_many_prompt_tokens",  # Perplexity
    "tokens_limit_reached",  # GitHub Models
))  # fmt: skip
_MARKS = (
    "maximum context length",
    "context window",
    "context size",
    "too many tokens",
    _PREFIX,
    "context length",
    "context limit",
    "maximum prompt length",
    "maximum model length",
    "maximum number of tokens allowed",
    "model token limit",
    "input is too long",
    "prompt too long",
    "prompt exceeds max length",
    "range of input length",
    "`max_new_tokens` must be <=",
    "`inputs` must have less than",
    "exceed the configured limit",
)
_N = r"\(?\[?(?:about )?(\d[\d,_]*)(?![\w-])"
# Where a message names the limit; earlier patterns are the more telling ones. What is behind "by" is an excess.
_LIMITS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"> {_N} maximum",  # Anthropic
        rf"{_N} maximum context length",  # Mistral
        rf"maximum (?:context|prompt|model|input) length (?:is|of|:)? ?(?:only )?{_N}",  # OpenAI, vLLM, DeepSeek, xAI
        rf"maximum context length:? {_N}",  # Fireworks
        rf"(?:maximum|configured|the) limit (?:of|is) {_N}",  # OpenAI, Copilot
        rf"limit(?: is| of|:) ?{_N}",  # Cerebras, Moonshot
        rf"context (?:length|window|size|limit)[^.;\d]*(?<!by ){_N}",  # SGLang, llama.cpp, LM Studio
        rf"tokens allowed:? {_N}",  # Gemini
        rf"(?:must be <=|cannot exceed|less than) {_N}",  # TGI, Cohere
        rf"maximum model length of {_N}",
    )
)
# Where it names what was asked for; all groups of a pattern together.
_USED = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"too large: {_N}.* request has {_N} input tokens",  # vLLM: the answer, and the prompt
        rf"given: {_N} `inputs` tokens and {_N} `max_new_tokens`",  # TGI
        rf"passed {_N} input tokens and requested {_N} output tokens",  # vLLM
        rf"resulted in {_N} tokens",  # OpenAI
        rf"requested:? (?:a total of )?{_N}",  # OpenAI, OpenRouter, SGLang, Moonshot
        rf"(?:has|contains) {_N} (?:input )?tokens",  # vLLM, xAI, Mistral
        rf"(?:prompt|input|request) \((?:length )?{_N}(?: tokens)?\)",  # vLLM, llama.cpp
        rf"token count {_N}",  # Gemini
        rf"prompt is too long: {_N}",  # Fireworks, Anthropic
        rf"context window: {_N} tokens",
        rf"keep the first {_N} tokens",  # LM Studio
        rf"received {_N}",  # Cohere
    )
)


def is_overflow(error: ProviderError, status: int) -> bool:
    if _CODES & set(error.words):
        return True
    message = error.message.lower()
    return status in _OVERFLOW_STATUSES and any(mark in message for mark in _MARKS)


def prompt_too_long(error: ProviderError, message: str) -> str:
    """For a Messages client; the numbers only where they are what they say."""
    if message.startswith(_OUTPUT_TOO_LARGE):
        return message
    if not message.startswith(_PREFIX):
        used, limit = _counted(error) or (_used(message), _limit(message))
        message = (
            f"{_PREFIX}: {used} tokens > {limit} maximum ({message})" if used > limit > 0 else f"{_PREFIX}: {message}"
        )
    return rejected(message, "prompt_too_long")


def _counted(error: ProviderError) -> tuple[int, int] | None:
    """llama.cpp says it in members."""
    used, limit = error.members.get("n_prompt_tokens"), error.members.get("n_ctx")
    return (used, limit) if type(used) is int and type(limit) is int else None


def _used(message: str) -> int:
    for pattern in _USED:
        if match := pattern.search(message):
            return sum(map(_int, match.groups()))
    return 0


def _limit(message: str) -> int:
    for pattern in _LIMITS:
        if match := pattern.search(message):
            return _int(match.group(1))
    return 0


def _int(digits: str) -> int:
    plain = re.sub(r"[,_]", "", digits)
    return int(plain) if len(plain) < 12 else 0


_BLOCK_STATUSES = frozenset((400, 404, 415, 422, 500, 501, 502))
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
    if status not in _BLOCK_STATUSES:
        return None
    if _IMAGE.search(message):
        return "image_block"
    return "document_block" if _DOCUMENT.search(message) else None
