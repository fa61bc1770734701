"""Short ways to translate a Chat request for a Messages provider in tests."""

import json
from typing import Any

from extproc.errors import Rejection
from extproc.providers.profiles import Profile, shipped, with_overrides
from extproc.translate.dialects.registry import PAIRS
from extproc.translate.pair import Target, Translated
from extproc.translate.translated import TranslatedRequest

HELLO = [{"role": "user", "content": "q"}]
CHAT_ON_MESSAGES = PAIRS["chat", "messages"]
MINIMAL: dict[str, Any] = {"model": "claude-x", "messages": HELLO}


def profile(named: str | dict[str, Any]) -> Profile:
    if isinstance(named, str):
        return shipped()[named]
    return with_overrides(shipped()[named["name"]], {k: v for k, v in named.items() if k != "name"})


def target(named: str | dict[str, Any] = "claude-adaptive", **overrides: Any) -> Target:
    return Target(profile=with_overrides(profile(named), overrides), model="claude-x", nonce="n", now=1.5)


def translate(request: dict[str, Any], to: Target) -> Translated | Rejection:
    return CHAT_ON_MESSAGES.request(request, to)


def body(*messages: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"model": "claude-x", "messages": list(messages) or HELLO, **members}


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


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any = None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def call(id: str = "c1", name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(id: str = "c1", content: Any = "r") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


def function(name: str = "f", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}
