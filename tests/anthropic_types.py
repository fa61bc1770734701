"""Checks a body against the anthropic package's own types, members it does not know forbidden."""

import importlib
import pkgutil
from functools import cache
from typing import Any, Required

import anthropic.types
import typing_extensions
from anthropic.types.message_create_params import MessageCreateParams
from pydantic import ConfigDict, TypeAdapter

from tests.openai_types import drain


def check_messages_request(body: dict[str, Any]) -> None:
    """Raises pydantic.ValidationError."""
    drain(_adapter().validate_python(body))


@cache
def _adapter() -> TypeAdapter[Any]:
    for found in pkgutil.iter_modules(anthropic.types.__path__, f"{anthropic.types.__name__}."):
        if not found.ispkg:
            for value in vars(importlib.import_module(found.name)).values():
                if typing_extensions.is_typeddict(value):
                    value.__pydantic_config__ = ConfigDict(extra="forbid")
                    if "data" in value.__annotations__:
                        value.__annotations__["data"] = Required[str]  # the SDK would read files too
    return TypeAdapter(MessageCreateParams)
