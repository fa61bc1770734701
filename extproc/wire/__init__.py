"""Bytes of the dialects: codecs without behaviour."""

from typing import Literal

Dialect = Literal["messages", "chat", "responses"]
"""A wire protocol: Anthropic Messages, OpenAI Chat Completions, OpenAI Responses."""
