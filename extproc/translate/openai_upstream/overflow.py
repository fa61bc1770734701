"""A prompt that does not fit, in the words that make Claude Code compact its history.

Vendors say it in many ways; the newest client knows some of them, older ones only Anthropic's own.
"""

import re

from extproc.translate.openai_upstream.told import Told

_PREFIX = "prompt is too long"
# Anthropic's own wording of a max_tokens that does not fit: clients lower it and go on.
_OUTPUT_TOO_LARGE = "input length and `max_tokens` exceed context limit"
_STATUSES = frozenset((400, 413, 422, 500))
_CODES = frozenset(
    ("context_length_exceeded", "exceed_context_size_error", "model_max_prompt_tokens_exceeded", "context_too_large")
)
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
_N = r"\(?\[?(?:about )?(\d[\d,_]*)"
# Where a message names the limit; earlier patterns are the more telling ones.
_LIMITS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"> {_N} maximum",  # Anthropic
        rf"{_N} maximum context length",  # Mistral
        rf"maximum (?:context|prompt|model|input) length (?:is|of|:)? ?(?:only )?{_N}",  # OpenAI, vLLM, DeepSeek, xAI
        rf"maximum context length:? {_N}",  # Fireworks
        rf"(?:maximum|configured|the) limit (?:of|is) {_N}",  # OpenAI, Copilot
        rf"limit(?: is| of|:) ?{_N}",  # Cerebras, Moonshot
        rf"context (?:length|window|size|limit)[^.;\d]*{_N}",  # SGLang, llama.cpp, LM Studio
        rf"tokens allowed:? {_N}",  # Gemini
        rf"(?:must be <=|cannot exceed|less than) {_N}",  # TGI, Cohere
        rf"maximum model length of {_N}",
    )
)
_NUMBER = re.compile(r"(?<![\w.])\d[\d,_]*(?![\w])")


def is_overflow(told: Told, status: int) -> bool:
    if _CODES & set(told.words):
        return True
    message = told.message.lower()
    return status in _STATUSES and any(mark in message for mark in _MARKS)


def prompt_too_long(told: Told, message: str) -> str:
    if message.startswith((_PREFIX, _OUTPUT_TOO_LARGE)):
        return message
    used, limit = _counted(told) or _read(message)
    return f"{_PREFIX}: {used} tokens > {limit} maximum ({message})" if used > limit > 0 else f"{_PREFIX}: {message}"


def _counted(told: Told) -> tuple[int, int] | None:
    """llama.cpp says it in members."""
    used, limit = told.members.get("n_prompt_tokens"), told.members.get("n_ctx")
    return (used, limit) if type(used) is int and type(limit) is int else None


def _read(message: str) -> tuple[int, int]:
    """What was asked for and the limit; zeros when they cannot be told."""
    limit = _limit(message)
    others = dict.fromkeys(n for match in _NUMBER.findall(message) if (n := _int(match)) != limit)
    larger = [n for n in others if n > limit]
    if not limit or not others:
        return 0, 0
    # Some name only the parts: the prompt, and what the answer may take.
    return (max(larger) if larger else sum(others)), limit


def _limit(message: str) -> int:
    for pattern in _LIMITS:
        if match := pattern.search(message):
            return _int(match.group(1))
    return 0


def _int(digits: str) -> int:
    plain = re.sub(r"[,_]", "", digits)
    return int(plain) if len(plain) < 12 else 0
