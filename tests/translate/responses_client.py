"""Short ways to translate a Responses request for a Messages provider in tests."""

import json
from typing import Any

from extproc.errors import Rejection
from extproc.translate.dialects.registry import PAIRS
from extproc.translate.pair import Target, Translated
from extproc.translate.translated import TranslatedRequest
from tests.translate.chat_asking import target

RESPONSES_ON_MESSAGES = PAIRS["responses", "messages"]
MINIMAL: dict[str, Any] = {"model": "claude-x", "input": "q"}


def translate(request: dict[str, Any], to: Target) -> Translated | Rejection:
    return RESPONSES_ON_MESSAGES.request(request, to)


def body(*items: Any, **members: Any) -> dict[str, Any]:
    return {"model": "claude-x", "input": list(items) or "q", **members}


def ask(request: dict[str, Any], to: Target | None = None) -> TranslatedRequest:
    asked = translate(request, to or target())
    assert isinstance(asked, TranslatedRequest), asked
    return asked


def sent(request: dict[str, Any], to: Target | None = None) -> dict[str, Any]:
    """The upstream's body."""
    found = json.loads(ask(request, to).body)
    assert isinstance(found, dict)
    return found


def refusal(request: dict[str, Any], to: Target | None = None) -> Rejection:
    found = translate(request, to or target())
    assert isinstance(found, Rejection), found
    assert found.http_status == 400
    return found


def user(content: Any = "q") -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": content}


def assistant(content: Any = "a") -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": content}


def call(id: str = "c1", name: str = "f", arguments: str = "{}", **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": id, "name": name, "arguments": arguments, **more}


def output(id: str = "c1", said: Any = "r", kind: str = "function_call_output") -> dict[str, Any]:
    return {"type": kind, "call_id": id, "output": said}


def function(name: str = "f", **more: Any) -> dict[str, Any]:
    return {"type": "function", "name": name, **more}
