"""The blocks of a Messages answer, and how it ends; the same for one message and for its events (docs/mapping.md 4.6,
4.7)."""

from typing import Any

import msgspec

from extproc.translate.answer_body import MAX_ANSWER
from extproc.translate.answer_events import (
    AnswerEvent,
    AnswerFinished,
    AnswerStarted,
    CallEnded,
    Compacted,
    FinishReason,
    UsageReported,
    Warned,
)
from extproc.translate.arguments import tool_input
from extproc.translate.conversation import ANTHROPIC
from extproc.translate.names import made_id
from extproc.translate.pair import Json, Usage
from extproc.translate.part_queue import CallPart, CompactionPart, PartQueue, QueueOverflow, ReasoningPart, TextPart
from extproc.translate.translated import TranslatedRequest
from extproc.wire.lenient import count
from extproc.wire.messages import Block, Citation, Delta, Message, StopDetails

_TYPE_OF_DELTA = {"text_delta": "text", "thinking_delta": "thinking"}
"""Deltas that show what their block is, should its start be missing."""
_AT_LIMIT = ("max_tokens", "model_context_window_exceeded")
# https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons
_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "model_context_window_exceeded": "context_window",
    "tool_use": "tool_calls",
    # The turn is not over: a Messages client would send it back, and Claude go on with its own tools.
    "pause_turn": "stop",
    "compaction": "stop",
    "refusal": "refusal",
}
_APPROXIMATE = ("pause_turn", "compaction")
"""An OpenAI client cannot go on from these."""


class AnswerState:
    """Raises part_queue.QueueOverflow."""

    def __init__(self, request: TranslatedRequest) -> None:
        self.is_started = False
        self.is_finished = False
        """The provider has said why the answer ends."""
        self._request = request
        self._queue = PartQueue()
        self._open: dict[int, OpenBlock] = {}
        self._calls: list[ClaudeCall] = []
        self._usage: Usage | None = None
        self._counts_are_last = False
        self._finish: list[AnswerEvent] = []

    @property
    def is_in_call(self) -> bool:
        return any(isinstance(block, CallBlock) for block in self._open.values())

    @property
    def may_be_cut(self) -> bool:
        """A call is not whole, should the answer end here without saying why."""
        return any(call.may_be_cut() for call in self._calls)

    def take(self) -> list[AnswerEvent]:
        return self._queue.take()

    def start(self, message: Message) -> None:
        if not self.is_started:
            self.is_started = True
            started = AnswerStarted(message.id or "", message.model or "", read_service_tier(message.usage))
            self._queue.out.append(started)

    def use(self, reported: Json | None, *, is_last: bool) -> None:
        """`is_last`: the counts came with the end of the message."""
        usage = read_usage(self._usage, reported, self._request.estimated_usage)
        if usage is None or reported is None:
            return
        self._usage = usage
        self._counts_are_last |= is_last and reported.get("output_tokens") is not None
        self._queue.out.append(UsageReported(usage, read_service_tier(reported), self._counts_are_last))

    def open(self, index: int, block: Block) -> None:
        if self.is_finished:
            return
        if index in self._open:
            self.close(index)
        self._open[index] = self._opened(block)

    def add(self, index: int, delta: Delta) -> None:
        if self.is_finished:
            return
        block = self._open.get(index)
        if block is None:
            kind = _TYPE_OF_DELTA.get(delta.type or "")
            if kind is None:
                return
            block = self._open[index] = self._opened(Block(type=kind))
        block.add(delta)

    def close(self, index: int) -> None:
        block = self._open.pop(index, None)
        if block is None:
            return
        block.end()
        if not isinstance(block, CallBlock):  # a call waits for what follows, which shows whether it is whole
            self._queue.close_ended()

    def finish(self, stop_reason: str | None, details: StopDetails | None) -> None:
        if self.is_finished:
            return
        self.is_finished = True
        for index in list(self._open):
            self.close(index)
        self._queue.close(at_limit=stop_reason in _AT_LIMIT)
        # A cut call may never look finished, whatever reason the provider gives.
        if self._queue.has_cut_call and stop_reason not in (*_AT_LIMIT, "refusal"):
            stop_reason = _AT_LIMIT[0]
        if stop_reason in _APPROXIMATE:
            self._queue.out.append(Warned("approx:stop_reason"))
        reason = _REASONS.get(stop_reason or "")
        if reason is None:
            self._queue.out.append(Warned("unknown_finish_reason" if stop_reason else "finish_reason_missing"))
            reason = "tool_calls" if self._queue.calls else "stop"
        self._finish = [AnswerFinished(reason, explanation=details.explanation if details is not None else None)]

    def end(self) -> list[AnswerEvent]:
        """The answer is complete."""
        self.finish(None, None)
        return [*self._queue.take(), *self._finish]

    # Blocks of unknown types come without notice, and mean nothing to a client of another dialect.
    def _opened(self, block: Block) -> "OpenBlock":
        match block.type:
            case "text":
                return TextBlock(self._queue, block)
            case "thinking":
                return ThinkingBlock(self._queue, block)
            # Thinking that a safety system has encrypted; it goes back as it is.
            case "redacted_thinking" if block.data:
                return RedactedBlock(self._queue, block.data)
            case "tool_use":
                return self._tool_use(block)
            case "compaction":
                return CompactionBlock(self._queue, block)
            case _:
                self._queue.close_ended()  # something follows the call that came last
                return OpenBlock()

    def _tool_use(self, block: Block) -> "CallBlock":
        request, name = self._request, block.name or ""
        call = ClaudeCall(block.input)
        name = request.names.get(name, name)
        call.identify(block.id or made_id("call_", request.nonce, len(self._calls)), name)
        call.kind = request.kinds.get(name, "function")
        self._calls.append(call)
        return CallBlock(self._queue, call)


class OpenBlock:
    """A block that has begun and not ended; this one means nothing to a client, as those of Anthropic's own tools."""

    def add(self, delta: Delta) -> None:
        """A piece of it."""

    def end(self) -> None:
        """Nothing more comes."""


class TextBlock(OpenBlock):
    def __init__(self, queue: PartQueue, block: Block) -> None:
        self._queue = queue
        self._part = TextPart()
        self._length = 0
        self._citations: list[Citation] = list(block.citations or ())
        queue.push(self._part)
        self.add(Delta(text=block.text))

    def add(self, delta: Delta) -> None:
        if delta.citation is not None:
            self._citations.append(delta.citation)
        if delta.text:
            self._length += len(delta.text)
            self._queue.add_text(self._part, delta.text)

    def end(self) -> None:
        """Only pages of the web can be cited for an OpenAI client: files have other places."""
        cited = [c for c in self._citations if c.type == "web_search_result_location" and c.url]
        # Anthropic cites for a block as a whole, OpenAI by the places in the text.
        if self._length:
            span = {"start_index": 0, "end_index": self._length}
            self._part.cite([{**span, "title": citation.title or "", "url": citation.url} for citation in cited])
        self._part.ended = True


class ThinkingBlock(OpenBlock):
    def __init__(self, queue: PartQueue, block: Block) -> None:
        self._queue = queue
        self._part = ReasoningPart("")
        self._signature = _Held(block.signature)
        queue.push(self._part)
        self._add(block.thinking)

    def add(self, delta: Delta) -> None:
        self._signature.add(delta.signature)
        self._add(delta.thinking)

    def end(self) -> None:
        """Without a signature Claude takes its thinking back as little as anybody else's."""
        if signature := self._signature.text:
            self._part.carrier, self._part.data = ANTHROPIC, {"signature": signature}
        self._part.ended = True

    def _add(self, text: str | None) -> None:
        if text:
            self._part.add(text)
            self._queue.advance(len(text))


class RedactedBlock(OpenBlock):
    """Thinking that Anthropic itself hides comes at once."""

    def __init__(self, queue: PartQueue, data: str) -> None:
        part = ReasoningPart(ANTHROPIC)
        part.data, part.ended = {"data": data}, True
        queue.push(part)
        queue.close_ended()


class CompactionBlock(OpenBlock):
    """What Claude keeps of a long conversation."""

    def __init__(self, queue: PartQueue, block: Block) -> None:
        self._queue = queue
        self._text = _Held(block.content)
        self._encrypted, self._signature = _Held(block.encrypted_content), _Held(block.signature)
        self._tool_changes = block.tool_changes

    def add(self, delta: Delta) -> None:
        self._text.add(delta.content)
        self._encrypted.add(delta.encrypted_content)
        self._signature.add(delta.signature)

    def end(self) -> None:
        # All of it must come back as it is.
        members = {
            "encrypted_content": self._encrypted.text,
            "signature": self._signature.text,
            "tool_changes": self._tool_changes,
        }
        data = {name: value for name, value in members.items() if value not in ("", None)}
        self._queue.push(CompactionPart(Compacted(self._text.text, ANTHROPIC, data or None)))


class CallBlock(OpenBlock):
    def __init__(self, queue: PartQueue, call: "ClaudeCall") -> None:
        self._queue = queue
        self._call = call
        queue.push(call)

    def add(self, delta: Delta) -> None:
        self._queue.advance(self._call.add(delta.partial_json or ""))

    def end(self) -> None:
        self._call.ended = True


class ClaudeCall(CallPart):
    """Ends in one of two ways: whole, or cut by the end of the answer (docs/mapping.md 2.3)."""

    def __init__(self, input: Any) -> None:
        """`input`: what the block began with; the arguments where nothing follows."""
        super().__init__()
        self.is_closed = False
        self._input = input
        self._size = 0

    def add(self, text: str) -> int:
        if text:
            self._arguments.append(text)
            self._pending.append(text)
            self._size += len(text)
        if self.kind == "custom" and self._size > MAX_ANSWER:
            raise QueueOverflow
        return len(text)

    def close(self, *, at_limit: bool) -> list[AnswerEvent]:
        """Clients parse the arguments, so a call without any still has an object."""
        self.is_closed = True
        if self._arguments or not at_limit:
            if not self._arguments:
                self.add(_object_text(self._input))
                self.whole = True
            return super().close(at_limit=at_limit)
        withheld = _object_text(self._input) if self._input and self.kind == "function" else ""
        *events, _ = super().close(at_limit=at_limit)
        return [*events, CallEnded(cut=True, withheld=withheld)]

    def may_be_cut(self) -> bool:
        """The answer may have ended in the midst of it."""
        return not self.is_closed and self._is_cut(at_limit=True)

    def _is_cut(self, *, at_limit: bool) -> bool:
        """What a block began with is an object however far the model got."""
        if self.whole or not self._arguments:
            return at_limit and not self.whole
        return tool_input(self.arguments, at_limit).cut


class _Held:
    """Text that is kept until its block ends. Raises QueueOverflow."""

    def __init__(self, first: Any) -> None:
        self._pieces: list[str] = []
        self._size = 0
        self.add(first)

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def add(self, piece: Any) -> None:
        if isinstance(piece, str) and piece:
            self._pieces.append(piece)
            self._size += len(piece)
            if self._size > MAX_ANSWER:
                raise QueueOverflow


def _object_text(input: Any) -> str:
    try:
        return msgspec.json.encode(input).decode() if isinstance(input, dict) else "{}"
    except RecursionError:
        return "{}"


# Token counts (docs/mapping.md 2.2)

MAX_TIER = 32
"""Characters of a service tier that are kept."""
# Anthropic's input tokens leave out what was read from the cache or written to it:
# https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance.
_PARTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
# Anthropic's word for how a call was served -> OpenAI's.
_TIERS = {"standard": "default", "batch": "default", "priority": "priority"}


def read_usage(known: Usage | None, reported: Json | None, estimated: Usage) -> Usage | None:
    """Counts are cumulative; what is null or absent leaves the earlier one. `estimated`: for lack of any."""
    found = reported or {}
    counts = {name: n for name in _PARTS if (n := count(found.get(name))) is not None}
    if not counts:
        return known
    details = found.get("output_tokens_details")
    thinking = count(details.get("thinking_tokens")) if isinstance(details, dict) else None
    if thinking is not None:
        counts["thinking_tokens"] = thinking
    return msgspec.structs.replace(known or estimated, **counts, **read_billing(found))


def read_billing(reported: Json) -> dict[str, Any]:
    """What prices depend on besides the counts, by the names that `Usage` has for it.
    https://platform.claude.com/docs/en/build-with-claude/prompt-caching#1-hour-cache-duration"""
    written, hosted = reported.get("cache_creation"), reported.get("server_tool_use")
    hour = count(written.get("ephemeral_1h_input_tokens")) if isinstance(written, dict) else None
    searches = count(hosted.get("web_search_requests")) if isinstance(hosted, dict) else None
    # `speed` is said beside the tier where a call was served fast.
    tier = "fast" if reported.get("speed") == "fast" else reported.get("service_tier")
    found: dict[str, Any] = {"cache_creation_1h_input_tokens": hour, "web_searches": searches}
    found["service_tier"] = tier[:MAX_TIER] if isinstance(tier, str) else None
    return {name: value for name, value in found.items() if value is not None}


def read_service_tier(reported: Json | None) -> str | None:
    """Anthropic's tier in OpenAI's words."""
    word: Any = (reported or {}).get("service_tier")
    return _TIERS.get(word) if isinstance(word, str) else None
