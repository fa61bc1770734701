"""The same question and the same answers in each dialect, as clients and providers write them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
PARIS = '{"city":"Paris"}'
TEXT = "It is sunny."
PROBLEM = "slow down, please"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@dataclass(frozen=True)
class Spoken:
    path: str
    """The path at the gateway."""
    provider_path: str
    question: Json
    """A call of a tool and its result have been before; tools are offered."""
    text: Json
    call: Json
    error: Json
    error_status: int
    stream: bytes
    read_text: Callable[[Json], str]
    read_call: Callable[[Json], tuple[str, str]]
    read_error: Callable[[Json], str]
    read_stream: Callable[[Sequence[tuple[str, Any]]], str]
    """Text of the events, which must have come to their end."""


def _sse(*events: tuple[str, Any]) -> bytes:
    return b"".join(
        (f"event: {name}\n" if name else "").encode() + b"data: " + _data(data) + b"\n\n" for name, data in events
    )


def _data(data: Any) -> bytes:
    return b"[DONE]" if data == "[DONE]" else json.dumps(data).encode()


def events(body: bytes) -> list[tuple[str, Any]]:
    """The events of a stream: names and data."""
    found = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if data := fields.get("data"):
            found.append((fields.get("event", ""), data if data == "[DONE]" else json.loads(data)))
    return found


def _toy_stream(found: Sequence[tuple[str, Any]]) -> str:
    assert found[-1][0] == "." and found[-1][1] == {"why": "done", "spent": [12, 5]}
    return "".join(data for name, data in found if name == "<")


TOY = Spoken(
    path="/toy/say",
    provider_path="/v1/say",
    question={
        "most": 100,
        "lines": ["* be brief", "> weather?", f"! c1 weather {PARIS}", "= c1 sunny", "> and now?"],
        "can": {"weather": {"about": "tells it", "takes": SCHEMA}},
    },
    text={"lines": [f"< {TEXT}"], "why": "done", "spent": [12, 5]},
    call={"lines": [f"! c2 weather {PARIS}"], "why": "call", "spent": [12, 5]},
    error={"oops": PROBLEM, "kind": "rate_limit_error"},
    error_status=420,
    stream=_sse(("<", "It is "), ("<", "sunny."), (".", {"why": "done", "spent": [12, 5]})),
    read_text=lambda answer: "\n".join(line.removeprefix("< ") for line in answer["lines"]),
    read_call=lambda answer: (answer["lines"][0].split(" ", 3)[2], answer["lines"][0].split(" ", 3)[3]),
    read_error=lambda answer: str(answer["oops"]),
    read_stream=_toy_stream,
)


def _completion(message: Json, finish: str) -> Json:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def _chunk(delta: Json, finish: str | None = None, **more: Any) -> tuple[str, Json]:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
    return "", chunk


def _chat_stream(found: Sequence[tuple[str, Any]]) -> str:
    assert found[-1][1] == "[DONE]"
    choices = [choice for _, data in found[:-1] for choice in data["choices"]]
    assert choices[-1]["finish_reason"] == "stop"
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def _chat_call(answer: Json) -> tuple[str, str]:
    function = answer["choices"][0]["message"]["tool_calls"][0]["function"]
    return function["name"], function["arguments"]


def _function(call_id: str) -> Json:
    return {"id": call_id, "type": "function", "function": {"name": "weather", "arguments": PARIS}}


CHAT = Spoken(
    path="/v1/chat/completions",
    provider_path="/v1/chat/completions",
    question={
        "max_tokens": 100,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": None, "tool_calls": [_function("c1")]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
            {"role": "user", "content": "and now?"},
        ],
        "tools": [
            {"type": "function", "function": {"name": "weather", "description": "tells it", "parameters": SCHEMA}}
        ],
    },
    text=_completion({"content": TEXT}, "stop"),
    call=_completion({"content": None, "tool_calls": [_function("c2")]}, "tool_calls"),
    error={"error": {"message": PROBLEM, "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}},
    error_status=429,
    stream=_sse(
        _chunk({"role": "assistant", "content": "It is "}),
        _chunk({"content": "sunny."}),
        _chunk({}, "stop", usage={"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}),
        ("", "[DONE]"),
    ),
    read_text=lambda answer: str(answer["choices"][0]["message"]["content"]),
    read_call=_chat_call,
    read_error=lambda answer: str(answer["error"]["message"]),
    read_stream=_chat_stream,
)


def _response(item: Json, status: str = "completed") -> Json:
    usage = {"input_tokens": 12, "output_tokens": 5, "total_tokens": 17}
    return {"id": "r", "object": "response", "model": "m", "status": status, "output": [item], "usage": usage}


def _message(text: str) -> Json:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": "i", "type": "message", "role": "assistant", "status": "completed", "content": [part]}


def _call_item(call_id: str) -> Json:
    return {"type": "function_call", "call_id": call_id, "name": "weather", "arguments": PARIS}


def _response_stream(found: Sequence[tuple[str, Any]]) -> str:
    assert found[-1][0] == "response.completed"
    return "".join(data["delta"] for name, data in found if name == "response.output_text.delta")


def _typed(kind: str, **members: Any) -> tuple[str, Json]:
    return kind, {"type": kind, **members}


_TO = {"output_index": 0, "item_id": "i", "content_index": 0}
RESPONSES = Spoken(
    path="/v1/responses",
    provider_path="/v1/responses",
    question={
        "max_output_tokens": 100,
        "instructions": "be brief",
        "input": [
            {"role": "user", "content": "weather?"},
            _call_item("c1"),
            {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
            {"role": "user", "content": "and now?"},
        ],
        "tools": [{"type": "function", "name": "weather", "description": "tells it", "parameters": SCHEMA}],
        "store": False,
    },
    text=_response(_message(TEXT)),
    call=_response({"id": "f", **_call_item("c2"), "status": "completed"}),
    error=CHAT.error,
    error_status=429,
    stream=_sse(
        _typed("response.created", response={**_response({}), "status": "in_progress", "output": []}),
        _typed("response.output_item.added", output_index=0, item={**_message(""), "content": []}),
        _typed("response.output_text.delta", **_TO, delta="It is "),
        _typed("response.output_text.delta", **_TO, delta="sunny."),
        _typed("response.output_item.done", output_index=0, item=_message(TEXT)),
        _typed("response.completed", response=_response(_message(TEXT))),
    ),
    read_text=lambda answer: str(answer["output"][0]["content"][0]["text"]),
    read_call=lambda answer: (answer["output"][0]["name"], answer["output"][0]["arguments"]),
    read_error=CHAT.read_error,
    read_stream=_response_stream,
)


def _anthropic(block: Json, stop: str) -> Json:
    usage = {"input_tokens": 12, "output_tokens": 5}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    return {**head, "content": [block], "stop_reason": stop, "stop_sequence": None, "usage": usage}


def _use(call_id: str) -> Json:
    return {"type": "tool_use", "id": call_id, "name": "weather", "input": {"city": "Paris"}}


def _messages_stream(found: Sequence[tuple[str, Any]]) -> str:
    assert [name for name, _ in found[-3:]] == ["content_block_stop", "message_delta", "message_stop"]
    deltas = [data["delta"] for name, data in found if name == "content_block_delta"]
    return "".join(delta["text"] for delta in deltas)


def _messages_call(answer: Json) -> tuple[str, str]:
    block = answer["content"][0]
    return block["name"], json.dumps(block["input"], separators=(",", ":"))


MESSAGES = Spoken(
    path="/v1/messages",
    provider_path="/v1/messages",
    question={
        "max_tokens": 100,
        "system": "be brief",
        "messages": [
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": [_use("c1")]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "sunny"},
                    {"type": "text", "text": "and now?"},
                ],
            },
        ],
        "tools": [{"name": "weather", "description": "tells it", "input_schema": SCHEMA}],
    },
    text=_anthropic({"type": "text", "text": TEXT}, "end_turn"),
    call=_anthropic(_use("c2"), "tool_use"),
    error={"type": "error", "error": {"type": "rate_limit_error", "message": PROBLEM}},
    error_status=429,
    stream=_sse(
        _typed("message_start", message={**_anthropic({}, ""), "content": [], "stop_reason": None}),
        _typed("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        _typed("content_block_delta", index=0, delta={"type": "text_delta", "text": "It is "}),
        _typed("content_block_delta", index=0, delta={"type": "text_delta", "text": "sunny."}),
        _typed("content_block_stop", index=0),
        _typed("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 5}),
        _typed("message_stop"),
    ),
    read_text=lambda answer: str(answer["content"][0]["text"]),
    read_call=_messages_call,
    read_error=CHAT.read_error,
    read_stream=_messages_stream,
)

SPOKEN = {"toy": TOY, "chat": CHAT, "responses": RESPONSES, "messages": MESSAGES}
