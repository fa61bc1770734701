"""The wire forms of Chat Completions: a plan as JSON, as SSE frames, errors. Pure."""

from typing import Any

import msgspec

from extproc.demo.plan import Plan
from extproc.demo.script import Call

PIECE = 12
DONE = b"data: [DONE]\n\n"

Json = dict[str, Any]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    plan: Plan
    model: str
    nonce: str
    """Makes ids unique across turns, which clients require."""
    created: int
    request_bytes: int
    """Bytes of the request."""


def usage(answer: Answer) -> Json:
    """Returns token counts: bytes divided by four."""
    plan = answer.plan
    thought = len(plan.thought.encode()) // 4
    output = len(plan.text.encode()) + sum(len(call.name) + len(call.arguments.encode()) for call in plan.calls)
    prompt, completion = max(1, answer.request_bytes // 4), max(1, thought + output // 4)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": 0},
    }


def whole(answer: Answer) -> bytes:
    plan = answer.plan
    message: Json = {"role": "assistant", "content": plan.text or None, "refusal": None, "annotations": []}
    if plan.thought:
        message["reasoning_content"] = plan.thought
    if plan.calls:
        message["tool_calls"] = [_call(answer, index, call) for index, call in enumerate(plan.calls)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": plan.finish}
    return msgspec.json.encode({**_head(answer, "chat.completion"), "choices": [choice], "usage": usage(answer)})


def frames(answer: Answer, *, include_usage: bool) -> list[bytes]:
    """Returns SSE frames; the last is `[DONE]`."""
    deltas: list[Json] = [{"role": "assistant", "content": "", "refusal": None}]
    deltas += [{"reasoning_content": piece} for piece in pieces(answer.plan.thought)]
    deltas += [{"content": piece} for piece in pieces(answer.plan.text)]
    for index, call in enumerate(answer.plan.calls):
        deltas.append({"tool_calls": [{"index": index, **_call(answer, index, Call(call.name, ""))}]})
        deltas += [_fragment(index, piece) for piece in pieces(call.arguments)]
    tail: Json = {"usage": None} if include_usage else {}
    head = _head(answer, "chat.completion.chunk")
    chunks = [{**head, "choices": [_choice(delta, None)], **tail} for delta in deltas]
    chunks.append({**head, "choices": [_choice({}, answer.plan.finish)], **tail})
    if include_usage:
        chunks.append({**head, "choices": [], "usage": usage(answer)})
    return [b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks] + [DONE]


def half(frames: list[bytes]) -> list[bytes]:
    """Returns the beginning of a stream, without finish_reason and `[DONE]`."""
    return frames[: max(1, (len(frames) - 1) // 2)]


def pieces(text: str) -> list[str]:
    return [text[start : start + PIECE] for start in range(0, len(text), PIECE)]


def _head(answer: Answer, kind: str) -> Json:
    return {
        "id": f"chatcmpl-{answer.nonce}",
        "object": kind,
        "created": answer.created,
        "model": answer.model,
        "service_tier": "default",
        "system_fingerprint": "fp_demo",
    }


def _choice(delta: Json, finish: str | None) -> Json:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _call(answer: Answer, index: int, call: Call) -> Json:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{answer.nonce}{index}", "type": "function", "function": function}


def _fragment(index: int, piece: str) -> Json:
    return {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


KINDS = {429: "requests", 500: "server_error", 502: "server_error", 503: "server_error", 504: "server_error"}
CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def error(status: int, message: str, *, param: str | None = None, code: str | None = None) -> bytes:
    kind = "insufficient_quota" if code == "insufficient_quota" else KINDS.get(status, "invalid_request_error")
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


def models(names: tuple[str, ...]) -> bytes:
    data = [{"id": name, "object": "model", "created": 1721172741, "owned_by": "demo"} for name in names]
    return msgspec.json.encode({"object": "list", "data": data})
