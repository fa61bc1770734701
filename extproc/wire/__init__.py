"""Bytes of the dialects: codecs without behaviour."""

Dialect = str
"""The name of a wire protocol, such as `messages` (Anthropic Messages), `chat` (OpenAI Chat Completions) or `responses`
(OpenAI Responses): one row in wire/dialects.py each."""
