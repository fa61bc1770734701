"""What a provider of each dialect answers, made by hand: a text, a refusal, an error, and the beginning of a stream."""

import json
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
NAMES = ("messages", "chat", "responses")


@dataclass(frozen=True)
class Dialect:
    """Bytes of one dialect."""

    path: str
    """Below the provider's base URL."""
    key_header: str
    overflow: bytes
    """The body of a 400 for a request that is too long."""

    def whole(self, text: str, tokens: tuple[int, int]) -> bytes:
        """`tokens`: those of the input and of the output."""
        raise NotImplementedError

    def events(self, text: str, tokens: tuple[int, int]) -> list[bytes]:
        """A whole stream, event by event."""
        raise NotImplementedError

    def refusal(self) -> bytes:
        """A JSON answer in which the model declines."""
        raise NotImplementedError

    def refusal_events(self) -> list[bytes]:
        raise NotImplementedError

    def worded_refusal(self) -> bytes:
        """As `refusal`, with words of the model's own."""
        return self.refusal()

    def worded_refusal_events(self) -> list[bytes]:
        return self.refusal_events()

    def error(self, message: str) -> bytes:
        raise NotImplementedError

    def error_event(self, message: str) -> bytes:
        raise NotImplementedError


def sse(event: Json, *, named: bool = True) -> bytes:
    name = f"event: {event['type']}\n" if named else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


class Messages(Dialect):
    def whole(self, text: str, tokens: tuple[int, int]) -> bytes:
        return self._message([{"type": "text", "text": text}], "end_turn", tokens)

    def events(self, text: str, tokens: tuple[int, int]) -> list[bytes]:
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        written = (block, delta, {"type": "content_block_stop", "index": 0})
        return [self._start(tokens), *map(sse, written), *self._end("end_turn", tokens)]

    def refusal(self) -> bytes:
        return self._message([], "refusal", (9, 1))

    def refusal_events(self) -> list[bytes]:
        return [self._start((9, 1)), *self._end("refusal", (9, 1))]

    def error(self, message: str) -> bytes:
        return json.dumps({"type": "error", "error": {"type": "api_error", "message": message}}).encode()

    def error_event(self, message: str) -> bytes:
        return sse({"type": "error", "error": {"type": "overloaded_error", "message": message}})

    def _message(self, content: list[Json], reason: str | None, tokens: tuple[int, int]) -> bytes:
        return json.dumps(self._fields(content, reason, tokens)).encode()

    def _fields(self, content: list[Json], reason: str | None, tokens: tuple[int, int]) -> Json:
        usage = {"input_tokens": tokens[0], "output_tokens": tokens[1]}
        known = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content}
        return known | {"stop_reason": reason, "stop_sequence": None, "usage": usage}

    def _start(self, tokens: tuple[int, int]) -> bytes:
        return sse({"type": "message_start", "message": self._fields([], None, (tokens[0], 1))})

    def _end(self, reason: str, tokens: tuple[int, int]) -> list[bytes]:
        delta = {"stop_reason": reason, "stop_sequence": None}
        usage = {"output_tokens": tokens[1]}
        return [sse({"type": "message_delta", "delta": delta, "usage": usage}), sse({"type": "message_stop"})]


class Chat(Dialect):
    def whole(self, text: str, tokens: tuple[int, int]) -> bytes:
        return self._completion({"content": text}, tokens)

    def events(self, text: str, tokens: tuple[int, int]) -> list[bytes]:
        return self._stream({"content": text}, tokens)

    def refusal(self) -> bytes:
        return self._completion({"content": None}, (9, 1), "content_filter")

    def refusal_events(self) -> list[bytes]:
        return self._stream({}, (9, 1), "content_filter")

    def worded_refusal(self) -> bytes:
        return self._completion({"content": None, "refusal": "I will not."}, (9, 1))

    def worded_refusal_events(self) -> list[bytes]:
        return self._stream({"refusal": "I will not."}, (9, 1))

    def error(self, message: str) -> bytes:
        return json.dumps({"error": {"message": message, "type": "server_error", "param": None, "code": None}}).encode()

    def error_event(self, message: str) -> bytes:
        return b"data: %b\n\n" % self.error(message)

    def _usage(self, tokens: tuple[int, int]) -> Json:
        return {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}

    def _completion(self, message: Json, tokens: tuple[int, int], reason: str = "stop") -> bytes:
        choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", **message}}
        known = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        return json.dumps(known | {"usage": self._usage(tokens)}).encode()

    def _stream(self, delta: Json, tokens: tuple[int, int], reason: str = "stop") -> list[bytes]:
        deltas: list[Json] = [{"role": "assistant", "content": ""}, *([delta] if delta else [])]
        choices: list[Json] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": reason})
        known = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        chunks = [known | {"choices": [choice]} for choice in choices]
        chunks.append(known | {"choices": [], "usage": self._usage(tokens)})
        return [*(sse(chunk, named=False) for chunk in chunks), b"data: [DONE]\n\n"]


class Responses(Dialect):
    def whole(self, text: str, tokens: tuple[int, int]) -> bytes:
        return json.dumps(self._response([self._message(text)], tokens)).encode()

    def events(self, text: str, tokens: tuple[int, int]) -> list[bytes]:
        at = {"item_id": "msg_1", "output_index": 0}
        part = {"type": "output_text", "text": text, "annotations": []}
        item = self._message(text)
        begun = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
        return self._stream(
            {"type": "response.output_item.added", "output_index": 0, "item": begun},
            {"type": "response.content_part.added", **at, "content_index": 0, "part": part | {"text": ""}},
            {"type": "response.output_text.delta", **at, "content_index": 0, "delta": text, "logprobs": []},
            {"type": "response.output_text.done", **at, "content_index": 0, "text": text, "logprobs": []},
            {"type": "response.content_part.done", **at, "content_index": 0, "part": part},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": self._response([item], tokens)},
        )

    def refusal(self) -> bytes:
        return json.dumps(self._filtered()).encode()

    def refusal_events(self) -> list[bytes]:
        return self._stream({"type": "response.incomplete", "response": self._filtered()})

    def worded_refusal(self) -> bytes:
        return json.dumps(self._response([self._declined()], (9, 1))).encode()

    def worded_refusal_events(self) -> list[bytes]:
        at = {"item_id": "msg_1", "output_index": 0}
        item = self._declined()
        begun = item | {"status": "in_progress", "content": []}
        return self._stream(
            {"type": "response.output_item.added", "output_index": 0, "item": begun},
            {
                "type": "response.content_part.added",
                **at,
                "content_index": 0,
                "part": {"type": "refusal", "refusal": ""},
            },
            {"type": "response.refusal.delta", **at, "content_index": 0, "delta": "I will not."},
            {"type": "response.refusal.done", **at, "content_index": 0, "refusal": "I will not."},
            {"type": "response.content_part.done", **at, "content_index": 0, "part": item["content"][0]},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": self._response([item], (9, 1))},
        )

    def error(self, message: str) -> bytes:
        return Chat("", "", b"").error(message)

    def error_event(self, message: str) -> bytes:
        error = {"code": "server_error", "message": message}
        failed = self._response([], None, "failed") | {"error": error}
        return sse({"type": "response.failed", "sequence_number": 1, "response": failed})

    def _filtered(self) -> Json:
        return self._response([], (9, 1), "incomplete") | {"incomplete_details": {"reason": "content_filter"}}

    def _message(self, text: str) -> Json:
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}

    def _declined(self) -> Json:
        return self._message("") | {"content": [{"type": "refusal", "refusal": "I will not."}]}

    def _response(self, output: list[Json], tokens: tuple[int, int] | None, status: str = "completed") -> Json:
        known: Json = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status}
        known |= {"output": output, "error": None, "incomplete_details": None, "instructions": None, "metadata": {}}
        known |= {"parallel_tool_calls": True, "temperature": 1, "top_p": 1, "tool_choice": "auto", "tools": []}
        return known | {"usage": self._usage(tokens) if tokens is not None else None}

    def _usage(self, tokens: tuple[int, int]) -> Json:
        details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        return {"input_tokens": tokens[0], "output_tokens": tokens[1], "total_tokens": sum(tokens), **details}

    def _stream(self, *events: Json) -> list[bytes]:
        created = {"type": "response.created", "response": self._response([], None, "in_progress")}
        return [sse(event | {"sequence_number": number}) for number, event in enumerate([created, *events])]


_TOO_LONG = json.dumps(
    {
        "error": {
            "message": "This model's maximum context length is 8192 tokens. However, your messages have 9000 tokens.",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        }
    }
).encode()
_PROMPT_TOO_LONG = json.dumps(
    {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "prompt is too long: 250000 tokens > 200000 maximum"},
    }
).encode()

DIALECTS: dict[str, Dialect] = {
    "messages": Messages("/v1/messages", "x-api-key", _PROMPT_TOO_LONG),
    "chat": Chat("/v1/chat/completions", "authorization", _TOO_LONG),
    "responses": Responses("/v1/responses", "authorization", _TOO_LONG),
}
