"""Where the parts of an answer go: out at once as chunks, or into one completion."""

from typing import NamedTuple, Protocol

import msgspec

from extproc.errors import Rejection
from extproc.translate.on_messages.arguments import compact, free_text
from extproc.translate.pair import Json
from extproc.wire import chat, chunks


class Head(NamedTuple):
    """What every chunk of an answer repeats."""

    id: str
    created: int
    model: str


class Call(msgspec.Struct, frozen=True):
    """A tool call as it begins; `index` counts the calls."""

    index: int
    id: str
    name: str
    custom: bool


class Sink(Protocol):
    def start(self, head: Head) -> None: ...
    def text(self, text: str) -> None: ...
    def reasoning(self, text: str) -> None: ...
    def detail(self, detail: Json) -> None: ...
    def call(self, call: Call) -> None: ...
    def arguments(self, call: Call, piece: str) -> None: ...
    def cut_short(self, call: Call) -> None:
        """The model has not finished the call."""
        ...

    def annotations(self, found: list[Json]) -> None: ...
    def refusal(self, text: str) -> None: ...
    def finish(self, reason: str) -> None: ...
    def end(self, usage: Json, service_tier: str | None) -> None: ...
    def fail(self, rejection: Rejection) -> None: ...
    def beat(self) -> None: ...
    def take(self) -> bytes: ...
    def ping(self) -> bytes: ...


class ChunkSink:
    """chat.completion.chunk events."""

    def __init__(self, *, include_usage: bool, legacy: bool) -> None:
        self._include_usage = include_usage
        self._legacy = legacy
        self._out: list[bytes] = []
        self._chunks: chunks.Chunks | None = None
        self._annotations = 0
        self._over = False

    def _delta(self, delta: Json) -> None:
        assert self._chunks is not None, "an answer starts before it says anything"
        self._out.append(self._chunks.delta(delta))

    def start(self, head: Head) -> None:
        self._chunks = chunks.Chunks(*head, include_usage=self._include_usage)
        self._delta({"role": "assistant", "content": ""})

    def _said(self, frame: chunks.Frame, text: str) -> None:
        assert self._chunks is not None, "an answer starts before it says anything"
        self._out.append(self._chunks.said(frame, text))

    def text(self, text: str) -> None:
        self._said(chunks.CONTENT, text)

    def reasoning(self, text: str) -> None:
        self._said(chunks.REASONING, text)

    def detail(self, detail: Json) -> None:
        self._delta({"reasoning_details": [detail]})

    def call(self, call: Call) -> None:
        """Chunks know no custom calls: those come as functions too."""
        function = {"name": call.name, "arguments": ""}
        if self._legacy:
            self._delta({"function_call": function})
        else:
            opened = {"index": call.index, "id": call.id, "type": "function", "function": function}
            self._delta({"tool_calls": [opened]})

    def arguments(self, call: Call, piece: str) -> None:
        self._said(chunks.FUNCTION_ARGUMENTS if self._legacy else chunks.call_arguments(call.index), piece)

    def cut_short(self, call: Call) -> None:
        """Its arguments end where the model's ended."""

    def annotations(self, found: list[Json]) -> None:
        """OpenAI's accumulator takes a list once as it is; whatever is added to it later must say where."""
        if self._annotations:
            found = [{"index": self._annotations + n, **annotation} for n, annotation in enumerate(found)]
        self._annotations += len(found)
        self._delta({"annotations": found})

    def refusal(self, text: str) -> None:
        self._delta({"refusal": text})

    def finish(self, reason: str) -> None:
        assert self._chunks is not None
        self._out.append(self._chunks.finish(reason))

    def end(self, usage: Json, service_tier: str | None) -> None:
        assert self._chunks is not None
        self._over = True
        if self._include_usage:
            self._out.append(self._chunks.usage(usage))
        self._out.append(chunks.DONE)

    def fail(self, rejection: Rejection) -> None:
        self._over = True
        self._out.append(b"data: %b\n\n" % chat.from_rejection(rejection))

    def beat(self) -> None:
        """The upstream shows that it is alive; OpenAI's clients want JSON in every `data`."""
        self._out.append(chunks.PING)

    def take(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def ping(self) -> bytes:
        return b"" if self._over else chunks.PING


class CompletionSink:
    """One completion, whole or not at all."""

    def __init__(self, *, legacy: bool) -> None:
        self._legacy = legacy
        self._head = Head("", 0, "")
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._details: list[Json] = []
        self._calls: dict[int, tuple[Call, list[str]]] = {}
        self._annotations: list[Json] = []
        self._refusal: str | None = None
        self._finish = ""
        self._done = b""

    def start(self, head: Head) -> None:
        self._head = head

    def text(self, text: str) -> None:
        self._text.append(text)

    def reasoning(self, text: str) -> None:
        self._reasoning.append(text)

    def detail(self, detail: Json) -> None:
        self._details.append(detail)

    def call(self, call: Call) -> None:
        self._calls[call.index] = call, []

    def arguments(self, call: Call, piece: str) -> None:
        self._calls[call.index][1].append(piece)

    def cut_short(self, call: Call) -> None:
        """Left out, so that nobody runs it."""
        del self._calls[call.index]

    def annotations(self, found: list[Json]) -> None:
        self._annotations += found

    def refusal(self, text: str) -> None:
        self._refusal = text

    def finish(self, reason: str) -> None:
        self._finish = reason

    def end(self, usage: Json, service_tier: str | None) -> None:
        choice = {"index": 0, "message": self._message(), "logprobs": None, "finish_reason": self._finish}
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
        text = "".join(self._text)
        nothing = None if self._calls or self._refusal is not None else ""
        message: Json = {"role": "assistant", "content": text or nothing, "refusal": self._refusal}
        if reasoning := "".join(self._reasoning):
            message["reasoning_content"] = reasoning
        if self._details:
            message["reasoning_details"] = self._details
        if self._calls and self._legacy:
            call, pieces = next(iter(self._calls.values()))
            message["function_call"] = {"name": call.name, "arguments": compact("".join(pieces))}
        elif self._calls:
            message["tool_calls"] = [_whole(call, "".join(pieces)) for call, pieces in self._calls.values()]
        if self._annotations:
            message["annotations"] = self._annotations
        return message

    def fail(self, rejection: Rejection) -> None:
        """Nothing has gone out, so the caller's status tells it."""

    def beat(self) -> None:
        return

    def take(self) -> bytes:
        done, self._done = self._done, b""
        return done

    def ping(self) -> bytes:
        return b""


def _whole(call: Call, arguments: str) -> Json:
    if not call.custom:
        function = {"name": call.name, "arguments": compact(arguments)}
        return {"id": call.id, "type": "function", "function": function}
    return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": free_text(arguments)}}
