"""Helpers for tests of answers: the request behind one, its events read back, and what events must be like."""

import json
from pathlib import Path
from typing import Any

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter
from pydantic_core import from_json

from extproc.providers.profiles import Profile, shipped, with_overrides
from extproc.translate.dialects.registry import PAIRS
from extproc.translate.pair import Reply, Target
from extproc.translate.translated import TranslatedRequest

messages_on_chat, messages_on_responses = PAIRS["messages", "chat"], PAIRS["messages", "responses"]
JSON, SSE = "application/json", "text/event-stream"
MINIMAL = {"model": "claude-x", "max_tokens": 100, "messages": [{"role": "user", "content": "q"}]}
_EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
_DELTAS = {
    "text": {"text_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "tool_use": {"input_json_delta"},
}
_MEMBER = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}


def vectors(name: str, *directions: str) -> list[dict[str, Any]]:
    path = Path(__file__).parents[1] / "vectors" / f"{name}.json"
    return [v for v in json.loads(path.read_text())["vectors"] if v["direction"] in directions]


def profile(named: str | dict[str, Any]) -> Profile:
    if isinstance(named, str):
        return shipped()[named]
    return with_overrides(shipped()[named["name"]], {k: v for k, v in named.items() if k != "name"})


def asked(
    named: str | dict[str, Any] = "generic", request: dict[str, Any] | None = None, **more: Any
) -> TranslatedRequest:
    body = {**(request or MINIMAL), **more}
    translated = messages_on_chat.request(body, Target(profile=profile(named), model=body["model"], nonce="n"))
    assert isinstance(translated, TranslatedRequest), translated
    return translated


def play(reply: Reply, *pieces: bytes) -> bytes:
    return b"".join([*(reply.feed(piece) for piece in pieces), reply.close()])


def events(raw: bytes) -> list[dict[str, Any]]:
    """Strictly: a name and data in each, and the name is the type."""
    found = []
    for part in raw.decode().split("\n\n")[:-1]:
        name, data = part.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    assert raw == b"" or raw.endswith(b"\n\n")
    return found


def merged(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without pings, and neighbouring deltas of one kind as one."""
    out: list[dict[str, Any]] = []
    for event in found:
        if event["type"] == "ping":
            continue
        kind = event["delta"]["type"] if event["type"] == "content_block_delta" else ""
        if kind and out and out[-1].get("index") == event["index"] and out[-1].get("delta", {}).get("type") == kind:
            out[-1]["delta"][_MEMBER[kind]] += event["delta"][_MEMBER[kind]]
        else:
            out.append(json.loads(json.dumps(event)))
    return out


def check_grammar(found: list[dict[str, Any]]) -> None:
    """What the clients rely on; an error may come at any point and ends it."""
    types = [event["type"] for event in found]
    if types == ["error"]:
        return
    assert types[0] == "message_start" and types.count("message_start") == 1
    assert types[-1] in {"message_stop", "error"}
    assert sum(kind in {"message_stop", "error"} for kind in types) == 1
    if types[-1] == "message_stop":
        assert types[-2] == "message_delta" and types.count("message_delta") == 1
    open_type, index, texts, cut = "", -1, "", False
    for event in found[1:]:
        match event["type"]:
            case "content_block_start":
                assert not open_type
                index += 1
                assert event["index"] == index
                open_type, texts = event["content_block"]["type"], ""
            case "content_block_delta":
                assert event["index"] == index and event["delta"]["type"] in _DELTAS[open_type]
                texts += event["delta"].get("partial_json", "")
            case "content_block_stop":
                assert event["index"] == index and open_type
                cut = cut or (open_type == "tool_use" and not _is_object(texts or "{}"))
                open_type = ""
            case "message_delta":
                assert not open_type and not (cut and event["delta"]["stop_reason"] == "tool_use")
            case _:
                assert not open_type or event["type"] == "error"


def _is_object(text: str) -> bool:
    """False for arguments that were cut: a beginning of JSON, never anything else."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        assert isinstance(from_json(text, allow_partial="trailing-strings"), dict)
        return False


def check_with_sdk(found: list[dict[str, Any]]) -> Any:
    """Anthropic's own accumulator takes them."""
    snapshot = None
    buffers: dict[int, bytes] = {}
    for event in found:
        if event["type"] == "error":
            break
        if event["type"] != "ping":
            snapshot = accumulate_event(
                event=_EVENT.validate_python(event), current_snapshot=snapshot, json_bufs=buffers
            )
    return snapshot


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    """One event of a Chat stream."""
    choices = [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    return b"data: " + json.dumps({"id": "chatcmpl-1", "model": "gpt-x", "choices": choices, **more}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
