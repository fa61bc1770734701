"""The wire forms of Anthropic's Messages: a plan as JSON, as events, errors. Pure."""

import base64
import hashlib
from typing import Any

import msgspec

from extproc.demo.forms import pieces
from extproc.demo.plan import Plan
from extproc.demo.script import Call

Json = dict[str, Any]
MARK = "EqDemo"
STOPS = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens"}
KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 409: "conflict_error", 413: "request_too_large", 429: "rate_limit_error",
    504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    plan: Plan
    model: str
    nonce: str
    request_bytes: int
    """Bytes of the request."""
    thinking: str = ""
    """`shown`, `omitted`, or nothing."""
    cited: str | None = None
    """Text of a document to cite."""


def sign(thought: str) -> str:
    """Returns the signature of a thought of this model. It contains the thought, whether that is shown or not."""
    raw = thought.encode()
    return MARK + base64.b64encode(hashlib.sha256(b"demo" + raw).digest() + raw).decode()


def signed(signature: object) -> str | None:
    """Returns the thought in a signature of this model; None if it is not one."""
    if not isinstance(signature, str) or not signature.startswith(MARK):
        return None
    try:
        thought = base64.b64decode(signature.removeprefix(MARK), validate=True)[32:].decode()
    except ValueError:
        return None
    return thought if sign(thought) == signature else None


def usage(answer: Answer) -> Json:
    """Returns token counts: bytes divided by four."""
    plan = answer.plan
    thought = len(plan.thought.encode()) // 4 if answer.thinking else 0
    output = len(plan.text.encode()) + sum(len(call.name) + len(call.arguments.encode()) for call in plan.calls)
    return {
        "input_tokens": max(1, answer.request_bytes // 4),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": max(1, thought + output // 4),
        "output_tokens_details": {"thinking_tokens": thought},
        "service_tier": "standard",
    }


def blocks(answer: Answer) -> list[Json]:
    plan, found = answer.plan, list[Json]()
    if plan.thought and answer.thinking:
        shown = plan.thought if answer.thinking == "shown" else ""
        found.append({"type": "thinking", "thinking": shown, "signature": sign(plan.thought)})
    if plan.text:
        citations = None if answer.cited is None else [_citation(answer.cited)]
        found.append({"type": "text", "text": plan.text, **({"citations": citations} if citations else {})})
    return found + [_tool_use(answer, index, call) for index, call in enumerate(plan.calls)]


def whole(answer: Answer) -> bytes:
    return msgspec.json.encode({**_head(answer), "content": blocks(answer), **_stop(answer), "usage": usage(answer)})


def events(answer: Answer) -> list[bytes]:
    counts = usage(answer)
    start = {**_head(answer), "content": [], "stop_reason": None, "stop_sequence": None}
    out = [event("message_start", message={**start, "usage": {**counts, "output_tokens": 1}}), event("ping")]
    for index, block in enumerate(blocks(answer)):
        out += _block_events(index, block)
    totals = {name: count for name, count in counts.items() if name not in ("cache_creation", "service_tier")}
    return [*out, event("message_delta", delta=_stop(answer), usage=totals), event("message_stop")]


def event(name: str, **members: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode({"type": name, **members}))


def _block_events(index: int, block: Json) -> list[bytes]:
    first, deltas = _parts(block)
    start = event("content_block_start", index=index, content_block=first)
    middle = [event("content_block_delta", index=index, delta=delta) for delta in deltas]
    return [start, *middle, event("content_block_stop", index=index)]


def _parts(block: Json) -> tuple[Json, list[Json]]:
    """Returns the first form of a block and the deltas that complete it."""
    if block["type"] == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
        signature = {"type": "signature_delta", "signature": block["signature"]}
        return {"type": "thinking", "thinking": "", "signature": ""}, [*deltas, signature]
    if block["type"] == "text":
        cites = [{"type": "citations_delta", "citation": citation} for citation in block.get("citations", ())]
        first = {"type": "text", "text": "", **({"citations": []} if cites else {})}
        return first, [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])] + cites
    arguments = ["", *pieces(msgspec.json.encode(block["input"]).decode())] if block["input"] != {} else [""]
    return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in arguments]


def _tool_use(answer: Answer, index: int, call: Call) -> Json:
    try:
        arguments = msgspec.json.decode(call.arguments)
    except msgspec.DecodeError:
        arguments = None
    # Claude's input is always an object; a script that has another value is answered with an error.
    given = arguments if isinstance(arguments, dict) else {"unreadable": call.arguments}
    return {"type": "tool_use", "id": f"toolu_{answer.nonce}{index}", "name": call.name, "input": given}


def _citation(document: str) -> Json:
    return {
        "type": "char_location",
        "cited_text": document[:40],
        "document_index": 0,
        "document_title": None,
        "start_char_index": 0,
        "end_char_index": len(document[:40]),
        "file_id": None,
    }


def _head(answer: Answer) -> Json:
    return {"id": f"msg_{answer.nonce}", "type": "message", "role": "assistant", "model": answer.model}


def _stop(answer: Answer) -> Json:
    return {"stop_reason": STOPS[answer.plan.finish], "stop_sequence": None}


def kind(status: int) -> str:
    return KINDS.get(status, "invalid_request_error" if status < 500 else "api_error")


def error(status: int, message: str, nonce: str, *, code: str = "") -> bytes:
    body = {"type": "error", "error": {"type": code or kind(status), "message": message}}
    return msgspec.json.encode({**body, "request_id": f"req_{nonce}"})


def error_event(status: int, message: str, *, code: str = "") -> bytes:
    return event("error", error={"type": code or kind(status), "message": message})


def model(name: str) -> Json:
    return {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}


def models(names: list[str], *, more: bool) -> bytes:
    ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
    return msgspec.json.encode({"data": [model(name) for name in names], "has_more": more, **ends})
