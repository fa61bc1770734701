"""Where the members of a Chat answer go: out at once as chunks, or into one completion (docs/mapping.md 4.6, 4.7)."""

from typing import Protocol

import msgspec

from extproc.errors import Rejection
from extproc.translate.pair import Json
from extproc.wire import chat


class Head(msgspec.Struct, frozen=True):
    """What every chunk of an answer repeats."""

    id: str
    created: int
    """Unix seconds."""
    model: str


class Call(msgspec.Struct):
    """A tool call as far as it has come; `index` counts the calls."""

    index: int
    id: str
    name: str
    is_custom: bool
    arguments: list[str] = []


class Output(Protocol):
    """Where the members of the answer go."""

    def start(self, head: Head) -> None: ...
    def text(self, text: str) -> None: ...
    def reasoning(self, text: str) -> None: ...
    def reasoning_detail(self, detail: Json) -> None: ...
    def call(self, call: Call) -> None: ...
    def arguments(self, call: Call, text: str) -> None: ...
    def end_call(self, call: Call, *, cut: bool) -> None: ...
    def logprobs(self, found: tuple[object, ...]) -> None: ...
    def annotations(self, found: list[Json]) -> None: ...
    def refusal(self, text: str) -> None: ...
    def end(self, reason: str, usage: Json, service_tier: str | None) -> None: ...
    def fail(self, rejection: Rejection) -> None: ...
    def keepalive(self) -> None: ...
    def take(self) -> bytes: ...
    def ping(self) -> bytes: ...


class ChunkOutput:
    """chat.completion.chunk events."""

    def __init__(self, *, include_usage: bool, legacy: bool) -> None:
        self._include_usage = include_usage
        self._legacy = legacy
        self._out: list[bytes] = []
        self._chunks: chat.Chunks | None = None
        self._annotations = 0
        self._over = False

    def start(self, head: Head) -> None:
        self._chunks = chat.Chunks(head.id, head.created, head.model, include_usage=self._include_usage)
        # OpenAI's first chunk has the role and no text; clients make the message of it.
        self._delta({"role": "assistant", "content": ""})

    def text(self, text: str) -> None:
        self._said(chat.CONTENT, text)

    def reasoning(self, text: str) -> None:
        self._said(chat.REASONING, text)

    def reasoning_detail(self, detail: Json) -> None:
        self._delta({"reasoning_details": [detail]})

    def call(self, call: Call) -> None:
        """Chunks know no custom calls: those come as functions too."""
        function = {"name": call.name, "arguments": ""}
        if self._legacy:
            self._delta({"function_call": function})
        else:
            opened = {"index": call.index, "id": call.id, "type": "function", "function": function}
            self._delta({"tool_calls": [opened]})

    def arguments(self, call: Call, text: str) -> None:
        if not call.is_custom:
            self._arguments(call, text)

    def end_call(self, call: Call, *, cut: bool) -> None:
        """Clients parse the arguments, so a call without any still has an object; a cut call stays cut."""
        if call.is_custom and (call.arguments or not cut):
            # Without its quote and brace the text of a cut call is no JSON, so that no client runs it.
            whole = msgspec.json.encode({"input": "".join(call.arguments)}).decode()
            self._arguments(call, whole[:-2] if cut else whole)
        elif not call.is_custom and not call.arguments and not cut:
            self._arguments(call, "{}")

    def logprobs(self, found: tuple[object, ...]) -> None:
        self._out.append(self._head.logprobs(found))

    def annotations(self, found: list[Json]) -> None:
        """OpenAI's accumulator takes a list once as it is; whatever is added later must say where."""
        if self._annotations:
            found = [{"index": self._annotations + n, **annotation} for n, annotation in enumerate(found)]
        self._annotations += len(found)
        self._delta({"annotations": found})

    def refusal(self, text: str) -> None:
        self._delta({"refusal": text})

    def end(self, reason: str, usage: Json, service_tier: str | None) -> None:
        self._over = True
        self._out.append(self._head.finish(reason))
        if self._include_usage:
            # A chunk without choices, and only for who asked: some clients read `choices[0]` of each.
            self._out.append(self._head.usage(usage))
        self._out.append(chat.DONE)

    def fail(self, rejection: Rejection) -> None:
        self._over = True
        # OpenAI's SDKs raise for a chunk with the member `error`; no `[DONE]` follows, since the answer is not done.
        self._out.append(b"data: %b\n\n" % chat.from_rejection(rejection))

    def keepalive(self) -> None:
        """A comment: OpenAI's clients want JSON in every `data`."""
        if self._chunks is not None:
            self._out.append(chat.PING)

    def take(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def ping(self) -> bytes:
        return b"" if self._over else chat.PING

    @property
    def _head(self) -> chat.Chunks:
        assert self._chunks is not None, "an answer starts before it says anything"
        return self._chunks

    def _delta(self, delta: Json) -> None:
        self._out.append(self._head.delta(delta))

    def _said(self, frame: chat.Frame, text: str) -> None:
        self._out.append(self._head.message(frame, text))

    def _arguments(self, call: Call, text: str) -> None:
        self._said(chat.FUNCTION_ARGUMENTS if self._legacy else chat.call_arguments(call.index), text)


class CompletionOutput:
    """One completion, whole or not at all."""

    def __init__(self, *, legacy: bool) -> None:
        self._legacy = legacy
        self._head = Head("", 0, "")
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._details: list[Json] = []
        self._calls: list[Call] = []
        self._annotations: list[Json] = []
        self._logprobs: list[object] = []
        self._refusal: list[str] = []
        self._done = b""

    def start(self, head: Head) -> None:
        self._head = head

    def text(self, text: str) -> None:
        self._text.append(text)

    def reasoning(self, text: str) -> None:
        self._reasoning.append(text)

    def reasoning_detail(self, detail: Json) -> None:
        self._details.append(detail)

    def call(self, call: Call) -> None:
        """Counted when it has ended."""

    def arguments(self, call: Call, text: str) -> None:
        """They are read from the call at its end."""

    def end_call(self, call: Call, *, cut: bool) -> None:
        """A cut call has not been made by the model."""
        if not cut:
            self._calls.append(call)

    def logprobs(self, found: tuple[object, ...]) -> None:
        self._logprobs += found

    def annotations(self, found: list[Json]) -> None:
        self._annotations += found

    def refusal(self, text: str) -> None:
        self._refusal.append(text)

    def end(self, reason: str, usage: Json, service_tier: str | None) -> None:
        logprobs = {"content": self._logprobs, "refusal": None} if self._logprobs else None
        # OpenAI's answers have `logprobs` and `refusal` also where these are null.
        choice = {"index": 0, "message": self._message(), "logprobs": logprobs, "finish_reason": reason}
        completion: Json = {
            "id": self._head.id,
            "object": "chat.completion",
            "created": self._head.created,
            "model": self._head.model,
            "choices": [choice],
            "usage": usage,
        }
        if service_tier is not None:
            completion["service_tier"] = service_tier
        self._done = msgspec.json.encode(completion)

    def _message(self) -> Json:
        text, refusal = "".join(self._text), "".join(self._refusal) or None
        # An answer of nothing at all has an empty text; null comes with calls or a refusal.
        nothing = None if self._calls or refusal is not None else ""
        message: Json = {"role": "assistant", "content": text or nothing, "refusal": refusal}
        if reasoning := "".join(self._reasoning):
            message["reasoning_content"] = reasoning
        if self._details:
            message["reasoning_details"] = self._details
        if self._calls and self._legacy:
            message["function_call"] = {"name": self._calls[0].name, "arguments": _arguments(self._calls[0])}
        elif self._calls:
            message["tool_calls"] = [_whole(call) for call in self._calls]
        if self._annotations:
            message["annotations"] = self._annotations
        return message

    def fail(self, rejection: Rejection) -> None:
        """Nothing has gone out, so the status tells it."""

    def keepalive(self) -> None:
        """JSON has no place for one."""

    def take(self) -> bytes:
        done, self._done = self._done, b""
        return done

    def ping(self) -> bytes:
        return b""


def _arguments(call: Call) -> str:
    return "".join(call.arguments) or "{}"


def _whole(call: Call) -> Json:
    if call.is_custom:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": "".join(call.arguments)}}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _arguments(call)}}
