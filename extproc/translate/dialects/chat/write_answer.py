"""An answer for a Chat Completions client: chunks, or one completion (docs/mapping.md 4.6, 4.7, 6.6)."""

from typing import Protocol

import msgspec

from extproc.errors import Rejection
from extproc.translate.answer_events import (
    AnswerEvent,
    AnswerFailed,
    AnswerFinished,
    AnswerStarted,
    ArgumentsDelta,
    CallEnded,
    CallStarted,
    Citations,
    Compacted,
    FinishReason,
    Keepalive,
    Logprobs,
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    TextDelta,
    TextEnded,
    UsageReported,
    Warned,
)
from extproc.translate.dialects.chat.reasoning import write_reasoning
from extproc.translate.dialects.chat.usage import write_usage
from extproc.translate.names import completion_id
from extproc.translate.pair import Json
from extproc.translate.translated import TranslatedRequest
from extproc.wire import chat, chunks

DECLINED = "The model declined to answer."
SEAM = "\n\n"
_FINISH: dict[FinishReason, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "context_window": "length",
    "tool_calls": "tool_calls",
    "refusal": "content_filter",
}


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


class ChatWriter:
    """An AnswerWriter (translated.py)."""

    def __init__(self, request: TranslatedRequest) -> None:
        self.warnings: list[str] = []
        self.finish_reason = ""
        self._request = request
        self._legacy = request.shape.legacy
        self._out: Output = (
            ChunkOutput(include_usage=request.shape.include_usage, legacy=self._legacy)
            if request.stream
            else CompletionOutput(legacy=self._legacy)
        )
        self._reasoning: list[str] = []
        """Text of the reasoning that is open."""
        self._has_reasoned = False
        self._details = 0
        self._calls = 0
        self._call: Call | None = None
        self._declined = False
        self._usage: Json = {}
        self._service_tier: str | None = None

    def take(self) -> bytes:
        return self._out.take()

    def ping(self) -> bytes:
        return self._out.ping()

    def write(self, event: AnswerEvent) -> None:
        match event:
            case TextDelta(text):
                self._out.text(text)
            case ArgumentsDelta(text):
                self._add_arguments(text)
            case ReasoningDelta(text):
                self._add_reasoning(text)
            case ReasoningEnded():
                self._end_reasoning(event)
            case CallStarted():
                self._start_call(event)
            case CallEnded(cut):
                self._end_call(cut=cut)
            case TextEnded() | Warned():
                pass
            case _:
                self._write_rare(event)

    def _write_rare(
        self,
        event: AnswerStarted
        | RefusalDelta
        | Logprobs
        | Citations
        | Compacted
        | UsageReported
        | Keepalive
        | AnswerFinished
        | AnswerFailed,
    ) -> None:
        match event:
            case AnswerStarted():
                self._start(event)
            case RefusalDelta(text):
                self._declined = True
                self._out.refusal(text)
            case Logprobs(found):
                self._out.logprobs(found)
            case Citations(found):
                self._out.annotations([{"type": "url_citation", "url_citation": citation} for citation in found])
            case Compacted():
                self.warnings.append("dropped:compaction")
            case UsageReported(usage, tier):
                self._usage = write_usage(usage)
                self._service_tier = tier or self._service_tier
            case Keepalive():
                self._out.keepalive()
            case AnswerFinished():
                self._finish(event)
            case AnswerFailed(rejection):
                self._out.fail(rejection)

    def _start(self, event: AnswerStarted) -> None:
        request = self._request
        model = event.model if event.model and request.profile.response_model == "upstream" else request.model
        self._service_tier = event.service_tier
        self._out.start(Head(completion_id(event.id, request.nonce), int(request.now), model))

    def _add_reasoning(self, text: str) -> None:
        if self._request.shown == "yes":
            seam = SEAM if self._has_reasoned and not self._reasoning else ""
            self._out.reasoning(seam + text)
        self._reasoning.append(text)

    def _end_reasoning(self, event: ReasoningEnded) -> None:
        text = "".join(self._reasoning)
        self._has_reasoned = self._has_reasoned or bool(text)
        self._reasoning.clear()
        if detail := write_reasoning(self._details, event.carrier, text, event.data):
            self._details += 1
            self._out.reasoning_detail(detail)

    def _start_call(self, event: CallStarted) -> None:
        call = Call(self._calls, event.id, event.name, event.kind == "custom", [])
        self._calls += 1
        if self._legacy and call.index:
            self.warnings.append("dropped:tool_calls")
            self._call = None
            return
        self._call = call
        self._out.call(call)

    def _add_arguments(self, text: str) -> None:
        if self._call is not None:
            self._call.arguments.append(text)
            self._out.arguments(self._call, text)

    def _end_call(self, *, cut: bool) -> None:
        if self._call is not None:
            self._out.end_call(self._call, cut=cut)
        self._call = None

    def _finish(self, event: AnswerFinished) -> None:
        reason = _FINISH[event.reason]
        if reason == "tool_calls" and self._legacy:
            reason = "function_call"
        if event.reason == "refusal" and self._declined:
            # A refusal in the model's own words ends like any answer: SDKs read the member, and raise on a filter.
            reason = "stop"
        elif event.reason == "refusal":
            self._out.refusal(event.explanation or DECLINED)
        self.finish_reason = reason
        self._out.end(reason, self._usage, self._service_tier)


class ChunkOutput:
    """chat.completion.chunk events."""

    def __init__(self, *, include_usage: bool, legacy: bool) -> None:
        self._include_usage = include_usage
        self._legacy = legacy
        self._out: list[bytes] = []
        self._chunks: chunks.Chunks | None = None
        self._annotations = 0
        self._over = False

    def start(self, head: Head) -> None:
        self._chunks = chunks.Chunks(head.id, head.created, head.model, include_usage=self._include_usage)
        self._delta({"role": "assistant", "content": ""})

    def text(self, text: str) -> None:
        self._said(chunks.CONTENT, text)

    def reasoning(self, text: str) -> None:
        self._said(chunks.REASONING, text)

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
        if call.is_custom:
            whole = msgspec.json.encode({"input": "".join(call.arguments)}).decode()
            self._arguments(call, whole[:-2] if cut else whole)
        elif not call.arguments and not cut:
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
            self._out.append(self._head.usage(usage))
        self._out.append(chunks.DONE)

    def fail(self, rejection: Rejection) -> None:
        self._over = True
        self._out.append(b"data: %b\n\n" % chat.from_rejection(rejection))

    def keepalive(self) -> None:
        """A comment: OpenAI's clients want JSON in every `data`."""
        if self._chunks is not None:
            self._out.append(chunks.PING)

    def take(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def ping(self) -> bytes:
        return b"" if self._over else chunks.PING

    @property
    def _head(self) -> chunks.Chunks:
        assert self._chunks is not None, "an answer starts before it says anything"
        return self._chunks

    def _delta(self, delta: Json) -> None:
        self._out.append(self._head.delta(delta))

    def _said(self, frame: chunks.Frame, text: str) -> None:
        self._out.append(self._head.said(frame, text))

    def _arguments(self, call: Call, text: str) -> None:
        self._said(chunks.FUNCTION_ARGUMENTS if self._legacy else chunks.call_arguments(call.index), text)


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
