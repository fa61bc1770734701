"""Short ways to translate a request in tests."""

import json
from typing import Any

from extproc.errors import Rejection
from extproc.providers.profiles import shipped, with_overrides
from extproc.translate.for_messages.asked import Asked
from extproc.translate.messages_on_chat.request import translate
from extproc.translate.pair import Target

HELLO = [{"role": "user", "content": "q"}]


def target(profile: str = "openai-chat", headers: dict[str, str] | None = None, **overrides: Any) -> Target:
    chosen = with_overrides(shipped()[profile], overrides)
    return Target(profile=chosen, model="m", nonce="n", headers=headers or {})


def body(**members: Any) -> dict[str, Any]:
    """A smallest request with these members."""
    return {"model": "claude-x", "max_tokens": 100, "messages": HELLO, **members}


def ask(request: dict[str, Any], to: Target | None = None) -> Asked:
    asked = translate(request, to or target())
    assert isinstance(asked, Asked), asked
    return asked


def sent(request: dict[str, Any], to: Target | None = None) -> dict[str, Any]:
    """The upstream's body."""
    found = json.loads(ask(request, to).body)
    assert isinstance(found, dict)
    return found


def refusal(request: dict[str, Any], to: Target | None = None) -> str:
    """What the client is told."""
    asked = translate(request, to or target())
    assert isinstance(asked, Rejection), asked
    assert asked.http_status == 400
    return asked.message


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def call(id: str = "toolu_1", name: str = "t", **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": {}, **more}


def result(id: str = "toolu_1", content: Any = "r", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": content, **more}


def tool(name: str = "t", schema: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "input_schema": schema or {"type": "object"}, **more}
