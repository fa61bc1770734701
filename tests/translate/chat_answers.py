"""Helpers for tests of Chat answers: chunks read back, what chunks must be like, events of Anthropic's to feed."""

import json
from typing import Any

from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from extproc.translate.pair import Reply
from extproc.translate.translated import TranslatedRequest
from tests.translate.answers import JSON, SSE, play
from tests.translate.chat_asking import CHAT_ON_MESSAGES, MINIMAL, ask, target

Json = dict[str, Any]
USAGE = {"input_tokens": 10, "output_tokens": 1, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}


def asked(named: str | Json = "claude-adaptive", request: Json | None = None, **more: Any) -> TranslatedRequest:
    return ask({**(request or MINIMAL), **more}, target(named))


def event(type: str, **members: Any) -> bytes:
    return f"event: {type}\ndata: {json.dumps({'type': type, **members})}\n\n".encode()


def message(*content: Json, stop: str | None = "end_turn", **more: Any) -> Json:
    members = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_sequence": None}
    return {**members, "content": list(content), "stop_reason": stop, "usage": USAGE, **more}


def started(**more: Any) -> bytes:
    return event("message_start", message=message(stop=None, **more))


def block(index: int, content: Json, *deltas: Json) -> bytes:
    added = (event("content_block_delta", index=index, delta=delta) for delta in deltas)
    begin = event("content_block_start", index=index, content_block=content)
    return b"".join((begin, *added, event("content_block_stop", index=index)))


def text(index: int, *texts: str) -> bytes:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": word} for word in texts))


def ended(stop: str | None = "end_turn", tokens: int = 7, **delta: Any) -> bytes:
    usage = {"output_tokens": tokens}
    return event("message_delta", delta={"stop_reason": stop, **delta}, usage=usage) + event("message_stop")


def chunks(raw: bytes) -> tuple[list[Json], bool]:
    """What the data lines hold, and whether `[DONE]` ends them. Every data line is JSON, as the SDK needs it."""
    assert raw == b"" or raw.endswith(b"\n\n")
    datas = [part.removeprefix("data: ") for part in raw.decode().split("\n\n")[:-1] if not part.startswith(":")]
    done = bool(datas) and datas[-1] == "[DONE]"
    return [json.loads(data) for data in datas[: len(datas) - done]], done


def merged(found: list[Json]) -> list[Json]:
    """Neighbouring deltas of one text as one."""
    out: list[Json] = []
    for chunk in found:
        kind = _kind(chunk)
        if kind and out and _kind(out[-1]) == kind:
            out[-1]["choices"][0]["delta"][kind] += chunk["choices"][0]["delta"][kind]
        else:
            out.append(json.loads(json.dumps(chunk)))
    return out


def _kind(chunk: Json) -> str:
    delta = chunk["choices"][0]["delta"] if chunk.get("choices") else {}
    return next(iter(delta)) if len(delta) == 1 and isinstance(next(iter(delta.values())), str) else ""


def run(*pieces: bytes, request: TranslatedRequest | None = None) -> tuple[Reply, list[Json], bool]:
    reply = CHAT_ON_MESSAGES.reply(request or asked(stream=True), SSE)
    return reply, *chunks(play(reply, *pieces))


def whole(answer: Any, request: TranslatedRequest | None = None) -> tuple[Reply, Json]:
    reply = CHAT_ON_MESSAGES.reply(request or asked(), JSON)
    out = play(reply, json.dumps(answer).encode())
    return reply, json.loads(out) if out else {}


def deltas(found: list[Json]) -> list[Json]:
    return [chunk["choices"][0]["delta"] for chunk in found if chunk.get("choices")]


def check_grammar(found: list[Json], *, done: bool, include_usage: bool = False, legacy: bool = False) -> None:
    """What OpenAI's clients rely on; an error may come at any point and ends it, without `[DONE]`."""
    failed = bool(found) and "error" in found[-1]
    assert done is not failed
    said = found[:-1] if failed else found[:]
    if not said:
        return
    assert {(c["id"], c["created"], c["model"], c["object"]) for c in said} == {
        (said[0]["id"], said[0]["created"], said[0]["model"], "chat.completion.chunk")
    }
    last = said.pop() if include_usage and done else None
    assert last is None or (last["choices"] == [] and last["usage"]["total_tokens"] >= 0)
    assert all(chunk.get("usage", 0) is None if include_usage else "usage" not in chunk for chunk in said)
    assert said[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    finishes = [chunk["choices"][0]["finish_reason"] for chunk in said]
    assert not any(finishes[:-1]) and (finishes[-1] is not None or failed)
    assert not any("role" in delta for delta in deltas(said)[1:])
    _check_calls([call for delta in deltas(said) for call in delta.get("tool_calls", ())])
    assert not legacy or not any("tool_calls" in delta for delta in deltas(said))


def _check_calls(calls: list[Json]) -> None:
    opened = [call["index"] for call in calls if "id" in call]
    assert opened == list(range(len(opened)))
    seen = -1
    for call in calls:
        seen = max(seen, call["index"]) if "id" in call else seen
        assert call["index"] <= seen


def check_with_sdk(found: list[Json]) -> Any:
    """OpenAI's own accumulator takes them."""
    state: Any = ChatCompletionStreamState()
    found = [{**chunk, "created": 1} if "error" not in chunk else chunk for chunk in found]
    for chunk in found:
        if "error" not in chunk:
            list(state.handle_chunk(ChatCompletionChunk.model_validate(chunk)))
    return state.current_completion_snapshot if found and "error" not in found[0] else None
