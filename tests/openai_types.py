"""Checks a body against the openai package's own types, members it does not know forbidden."""

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import openai.types.chat
import openai.types.responses
import openai.types.shared_params
import typing_extensions
from openai.types.chat.completion_create_params import CompletionCreateParams
from openai.types.responses.input_token_count_params import InputTokenCountParams
from openai.types.responses.response_create_params import ResponseCreateParams
from pydantic import ConfigDict, TypeAdapter


def check_chat_request(body: dict[str, Any]) -> None:
    """Raises pydantic.ValidationError."""
    drain(_strict(CompletionCreateParams).validate_python(body))


def check_responses_request(body: dict[str, Any]) -> None:
    """Raises pydantic.ValidationError."""
    drain(_strict(ResponseCreateParams).validate_python(body))


def check_input_tokens_request(body: dict[str, Any]) -> None:
    """Raises pydantic.ValidationError."""
    drain(_strict(InputTokenCountParams).validate_python(body))


@cache
def _strict(into: Any) -> TypeAdapter[Any]:
    for package in (openai.types.chat, openai.types.responses, openai.types.shared_params):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for value in vars(importlib.import_module(found.name)).values():
                if typing_extensions.is_typeddict(value):
                    value.__pydantic_config__ = ConfigDict(extra="forbid")
    return TypeAdapter(into)


def drain(value: Any) -> None:
    """Iterables are validated only when they are read."""
    if isinstance(value, Mapping):
        for item in value.values():
            drain(item)
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for item in value:
            drain(item)
