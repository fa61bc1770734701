"""An answer for a Responses client: its events, or one response (docs/mapping.md 6.5, 6.7)."""

from typing import Any

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
from extproc.translate.dialects.responses.write_items import CallItem, MessageItem, ReasoningItem, compaction_item
from extproc.translate.names import made_id, message_suffix
from extproc.translate.pair import Json, Usage
from extproc.translate.translated import TranslatedRequest
from extproc.wire import responses as wire

DECLINED = "The model declined to answer."
_LENGTH, _FILTER = "max_output_tokens", "content_filter"
_INCOMPLETE: dict[FinishReason, str] = {
    "stop": "",
    "stop_sequence": "",
    "tool_calls": "",
    "length": _LENGTH,
    "context_window": _LENGTH,
    "refusal": _FILTER,
}


class ResponsesWriter:
    """An AnswerWriter (translated.py)."""

    def __init__(self, request: TranslatedRequest) -> None:
        self.warnings: list[str] = []
        self.finish_reason = ""
        self._request = request
        self._output = ResponseOutput(request)
        self._message: MessageItem | None = None
        self._reasoning: ReasoningItem | None = None
        self._call: CallItem | None = None
        self._has_text = False
        self._usage: Json | None = None

    def take(self) -> bytes:
        return self._output.take()

    def ping(self) -> bytes:
        return self._output.ping()

    def write(self, event: AnswerEvent) -> None:
        match event:
            case TextDelta(text):
                self._open_message().add(text)
            case RefusalDelta(text):
                self._open_message(is_refusal=True).add(text)
            case ArgumentsDelta(text):
                if self._call is not None:
                    self._call.add(text)
            case ReasoningDelta(text):
                self._open_reasoning().add(text)
            case ReasoningEnded(carrier, data):
                self._open_reasoning().end(carrier, data)
                self._reasoning = None
            case CallStarted():
                self._close_message()
                self._call = CallItem(self._output, self._request, event)
            case CallEnded():
                self._end_call(event)
            case Warned():
                pass
            case _:
                self._write_rare(event)

    def _write_rare(
        self,
        event: AnswerStarted
        | TextEnded
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
                self._output.start(event)
            case TextEnded():
                self._end_part()
            case Logprobs(found):
                self._add_logprobs(found)
            case Citations(found):
                self._open_message().cite(found)
            case Compacted():
                self._close_message()
                compaction_item(self._output, event)
            case UsageReported(usage, tier):
                self._usage = write_usage(usage)
                self._output.service_tier = tier or self._output.service_tier
            case Keepalive():
                self._output.keepalive()
            case AnswerFinished():
                self._finish(event)
            case AnswerFailed(rejection):
                self._output.fail(rejection)

    def _open_message(self, *, is_refusal: bool = False) -> MessageItem:
        self._has_text = True
        if self._message is not None and self._message.is_refusal is not is_refusal:
            self._close_message()
        if self._message is None:
            self._message = MessageItem(self._output, is_refusal=is_refusal)
        return self._message

    def _end_part(self) -> None:
        """A message stays open over neighbouring texts."""
        if self._message is not None:
            self._message.end_part()

    def _add_logprobs(self, found: tuple[Any, ...]) -> None:
        if self._message is not None:
            self._message.add_logprobs(found)

    def _close_message(self) -> None:
        if self._message is not None:
            self._message.close()
            self._message = None

    def _open_reasoning(self) -> ReasoningItem:
        if self._reasoning is None:
            self._close_message()
            self._reasoning = ReasoningItem(self._output, shown=self._request.shown == "yes")
        return self._reasoning

    def _end_call(self, event: CallEnded) -> None:
        if self._call is not None:
            self._call.close(event)
        self._call = None

    def _finish(self, event: AnswerFinished) -> None:
        incomplete = _INCOMPLETE[event.reason]
        if event.reason == "refusal" and self._message is not None and self._message.is_refusal:
            incomplete = ""  # the model's own words, which end like any answer
        elif event.reason == "refusal" and not self._has_text:
            self._open_message(is_refusal=True).add(event.explanation or DECLINED)
        self._close_message()
        self.finish_reason = incomplete or "completed"
        self._output.end(incomplete, self._usage)


class ResponseOutput:
    """Items get their place when they begin, and are part of the response when they are done."""

    def __init__(self, request: TranslatedRequest) -> None:
        self.suffix = ""
        """What all ids of the answer have in common."""
        self.service_tier: str | None = None
        self._request = request
        self._is_stream = request.stream
        self._out: list[bytes] = []
        self._sequence = 0
        self._head: Json = {}
        self._items: dict[int, Json] = {}
        self._places = 0
        self._over = False

    def start(self, event: AnswerStarted) -> None:
        request = self._request
        self.suffix = message_suffix(event.id, request.nonce)
        self.service_tier = event.service_tier
        model = event.model if event.model and request.profile.response_model == "upstream" else request.model
        self._begin(f"resp_{self.suffix}", model)

    def _begin(self, id: str, model: str) -> None:
        self._head = {"id": id, "object": "response", "created_at": int(self._request.now), "model": model}
        # https://platform.openai.com/docs/api-reference/responses-streaming: SDKs build the response from the first
        # event, and keep its items by their index.
        response = self._response("in_progress")
        self.emit("response.created", response=response)
        self.emit("response.in_progress", response=response)

    def emit(self, kind: str, **members: Any) -> None:
        if self._is_stream:
            self._out.append(wire.event(kind, self._sequence, members))
            self._sequence += 1

    def delta(self, frame: wire.Frame, text: str) -> None:
        if self._is_stream:
            self._out.append(frame.said(self._sequence, text))
            self._sequence += 1

    def next_place(self) -> int:
        self._places += 1
        return self._places - 1

    def add(self, place: int, item: Json) -> None:
        self.emit("response.output_item.added", output_index=place, item=item)

    def done(self, place: int, item: Json) -> None:
        self._items[place] = item
        self.emit("response.output_item.done", output_index=place, item=item)

    def keep(self, place: int, item: Json) -> None:
        """The item is part of the response, but the client is not sent its end."""
        self._items[place] = item

    def end(self, incomplete: str, usage: Json | None) -> None:
        self._over = True
        response = self._response("incomplete" if incomplete else "completed")
        response["incomplete_details"] = {"reason": incomplete} if incomplete else None
        response["usage"] = usage
        if self.service_tier is not None:
            response["service_tier"] = self.service_tier
        self.emit(f"response.{response['status']}", response=response)
        if not self._is_stream:
            self._out.append(msgspec.json.encode(response))

    def fail(self, rejection: Rejection) -> None:
        """A response that has not begun begins, since clients want to know what failed."""
        self._over = True
        if not self._is_stream:
            return
        if not self._head:
            self._begin(made_id("resp_", self._request.nonce, 0), self._request.model)
        self._out.append(wire.failed(rejection, self._sequence, self._response("failed")))

    def keepalive(self) -> None:
        """A comment: it is no event."""
        if self._is_stream:
            self._out.append(wire.PING)

    def take(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def ping(self) -> bytes:
        return wire.PING if self._is_stream and not self._over else b""

    def _response(self, status: str) -> Json:
        return {
            **self._head,
            "status": status,
            "error": None,
            "incomplete_details": None,
            **{name: msgspec.Raw(value) for name, value in self._request.shape.echo.items()},
            # Nothing is kept here, so that no client may refer to this response.
            "store": False,
            "output": [self._items[place] for place in sorted(self._items)],
            # Null until the end, as OpenAI has it: SDKs want the member in every state.
            "usage": None,
        }


def write_usage(usage: Usage) -> Json:
    cached, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    prompt = usage.input_tokens + written + cached
    return {
        "input_tokens": prompt,
        # SDKs' types require all of these details.
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.thinking_tokens or 0},
        "total_tokens": prompt + usage.output_tokens,
    }
