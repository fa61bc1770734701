"""Short ways to ask a Responses upstream in tests, and to be one."""

import json
from typing import Any

from extproc.errors import Rejection
from extproc.providers.profiles import shipped, with_overrides
from extproc.translate.for_messages.asked import Asked
from extproc.translate.messages_on_responses import messages_on_responses
from extproc.translate.pair import Outcome, Reply, Target
from tests.translate.answers import JSON, MINIMAL, SSE, check_grammar, check_with_sdk, events, merged, play

THINKS: dict[str, Any] = {"thinking": {"type": "adaptive"}}
USAGE = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}


def target(profile: str = "openai-responses", headers: dict[str, str] | None = None, **overrides: Any) -> Target:
    return Target(
        profile=with_overrides(shipped()[profile], overrides), model="gpt-x", nonce="n", headers=headers or {}
    )


def ask(request: dict[str, Any] | None = None, to: Target | None = None, **members: Any) -> Asked:
    asked = messages_on_responses.request({**(request or MINIMAL), **members}, to or target())
    assert isinstance(asked, Asked), asked
    return asked


def sent(request: dict[str, Any] | None = None, to: Target | None = None, **members: Any) -> dict[str, Any]:
    """The upstream's body."""
    found = json.loads(ask(request, to, **members).body)
    assert isinstance(found, dict)
    return found


def refusal(request: dict[str, Any] | None = None, to: Target | None = None, **members: Any) -> str:
    asked = messages_on_responses.request({**(request or MINIMAL), **members}, to or target())
    assert isinstance(asked, Rejection), asked
    assert asked.http_status == 400
    return asked.message


def event(type: str, **members: Any) -> bytes:
    """One event of a stream."""
    return f"event: {type}\ndata: {json.dumps({'type': type, **members})}\n\n".encode()


def response(*output: dict[str, Any], status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "model": "gpt-x", "status": status, "output": list(output), "usage": USAGE, **more}


CREATED = event("response.created", response={"id": "resp_1", "model": "gpt-x", "status": "in_progress", "output": []})
COMPLETED = event("response.completed", response=response())


def added(index: int, type: str, **members: Any) -> bytes:
    return event("response.output_item.added", output_index=index, item={"type": type, **members})


def done(index: int, type: str, **members: Any) -> bytes:
    return event("response.output_item.done", output_index=index, item={"type": type, **members})


def delta(index: int, of: str, text: str, **members: Any) -> bytes:
    return event(f"response.{of}.delta", output_index=index, delta=text, **members)


def text(*pieces: str, index: int = 0) -> list[bytes]:
    """A message of one part."""
    whole = {"type": "output_text", "text": "".join(pieces), "annotations": []}
    return [
        added(index, "message", content=[]),
        *(delta(index, "output_text", piece, content_index=0) for piece in pieces),
        event("response.output_text.done", output_index=index, content_index=0, text=whole["text"]),
        done(index, "message", content=[whole]),
    ]


def thought(text: str, encrypted: str | None = "ENC", index: int = 0) -> list[bytes]:
    summary = [{"type": "summary_text", "text": text}] if text else []
    deltas = [delta(index, "reasoning_summary_text", text, summary_index=0)] if text else []
    item = {"id": f"rs_{index}", "summary": summary}
    return [added(index, "reasoning", **item), *deltas, done(index, "reasoning", **item, encrypted_content=encrypted)]


def call(arguments: str = "{}", id: str = "call_1", name: str = "f", index: int = 0) -> list[bytes]:
    return [
        added(index, "function_call", call_id=id, name=name, arguments=""),
        delta(index, "function_call_arguments", arguments),
        event("response.function_call_arguments.done", output_index=index, arguments=arguments),
        done(index, "function_call", call_id=id, name=name, arguments=arguments),
    ]


def run(*pieces: bytes, asked: Asked | None = None) -> tuple[Reply, list[dict[str, Any]]]:
    """Events between the first one and the last."""
    reply = messages_on_responses.reply(asked or ask(stream=True), SSE)
    found = events(play(reply, *pieces))
    check_grammar(found)
    check_with_sdk(found)
    return reply, merged(found)


def whole(value: Any, asked: Asked | None = None) -> tuple[Any, Outcome]:
    """A response as one message, or None."""
    reply = messages_on_responses.reply(asked or ask(), JSON)
    out = play(reply, json.dumps(value).encode())
    return json.loads(out) if out else None, reply.outcome
