"""What an answer has said so far, and how it ends; the same for one message and for its events.

A client's dialect extends it: how an answer begins, which blocks there are, how it ends.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

from extproc.translate.on_messages import usage
from extproc.translate.on_messages.asked import Asked
from extproc.translate.on_messages.calls import ToolCall
from extproc.translate.pair import Json, Outcome, Usage
from extproc.wire.message_events import Block, Delta, Message, StopDetails

# Deltas that show what their block is, should its start be missing.
_TELLING = {"text_delta": "text", "thinking_delta": "thinking"}
_AT_LIMIT = ("max_tokens", "model_context_window_exceeded")
_BYTES_PER_TOKEN = 4
DECLINED = "The model declined to answer."


class Open(Protocol):
    """A block that has begun and not ended."""

    is_call: ClassVar[bool]

    def add(self, delta: Delta) -> int:
        """Returns the size of what was added, in characters."""
        ...

    def close(self) -> None: ...


class Skipped:
    """Of the server's own tools, or unknown: what they did is in the text."""

    is_call: ClassVar[bool] = False

    def add(self, delta: Delta) -> int:
        return 0

    def close(self) -> None:
        return


class AnswerState(ABC):
    def __init__(self, asked: Asked, outcome: Outcome) -> None:
        self._about = asked
        self._outcome = outcome
        self._blocks: dict[int, Open] = {}
        self._last_call: ToolCall | None = None
        """Its block has ended. It waits for what follows, which may show that it was cut."""
        self._cut = 0
        """Calls that the model has not finished."""
        self._usage: Usage | None = None
        self._settled = False
        """The count of what was written is the upstream's last."""
        self.started = False
        self.finished = False
        self.size = 0

    @property
    def in_call(self) -> bool:
        return any(block.is_call for block in self._blocks.values())

    @property
    def is_cut(self) -> bool:
        """A call is not finished, should the answer end here without saying why."""
        calls = [block for block in (*self._blocks.values(), self._last_call) if isinstance(block, ToolCall)]
        return any(call.is_cut(at_limit=True) for call in calls)

    def warn(self, word: str) -> None:
        if word and word not in self._outcome.warnings:
            self._outcome.warnings.append(word)

    def start(self, message: Message) -> None:
        """The client learns of the answer; from here on a failure can only be an event."""
        self._use(message.usage)
        if self.started:
            return
        self.started = self._outcome.begun = True
        told, about = message.model or "", self._about
        self._outcome.model = told
        self._begin(message.id or "", told if told and about.profile.response_model == "upstream" else about.model)

    def open(self, index: int, block: Block) -> None:
        if index in self._blocks:
            self.close(index)
        self._settle()
        self._blocks[index] = self._opened(block)

    def add(self, index: int, delta: Delta) -> None:
        block = self._blocks.get(index)
        if block is None:
            kind = _TELLING.get(delta.type or "")
            if kind is None:
                return
            self._settle()
            block = self._blocks[index] = self._opened(Block(type=kind))
        self._count(block, block.add(delta))

    def close(self, index: int) -> None:
        block = self._blocks.pop(index, None)
        if isinstance(block, ToolCall):
            self._settle()
            self._last_call = block
        elif block is not None:
            block.close()
            self._closed(block)

    def close_all(self) -> None:
        for index in list(self._blocks):
            self.close(index)

    def use(self, told: Json | None) -> None:
        """With the end of the message."""
        self._use(told)
        self._settled = self._settled or bool(told and told.get("output_tokens") is not None)

    def finish(self, stop_reason: str | None, details: StopDetails | None) -> None:
        if self.finished:
            return
        self.finished = True
        self.close_all()
        self._settle(at_limit=stop_reason in _AT_LIMIT)
        if self._cut and stop_reason not in {*_AT_LIMIT, "refusal"}:
            stop_reason = _AT_LIMIT[0]
        self._outcome.finish_reason = self._finish(stop_reason, details)

    def _settle(self, *, at_limit: bool = False) -> None:
        """Ends the last call."""
        call, self._last_call = self._last_call, None
        if call is None:
            return
        if call.is_cut(at_limit):
            self._cut += 1
            self.warn(f"incomplete_tool_call:{call.id}")
            call.cut_short()
        else:
            call.close()

    def end(self) -> None:
        if self._usage is None:
            self.warn("usage_missing")
        self.measure()
        self._outcome.complete = True
        self._end(self._outcome.usage or Usage())

    def measure(self) -> None:
        """Keeps the outcome's usage true at any moment, since the client may leave at any."""
        if self._settled or self._about.profile.missing_usage == "zero":
            return
        estimate = -(-self.size // _BYTES_PER_TOKEN)
        if self._usage is None and self.started:
            self._usage = Usage(input_tokens=-(-self._about.size // _BYTES_PER_TOKEN))
        if self._usage is not None:
            self._usage.output_tokens = max(self._usage.output_tokens, estimate)
            self._outcome.usage = self._usage

    def _use(self, told: Json | None) -> None:
        self._usage = usage.merge(self._usage, told)
        if self._usage is not None:
            self._outcome.usage = self._usage

    def _count(self, block: Open, added: int) -> None:
        self.size += added

    def _closed(self, block: Open) -> None:  # noqa: B027 - most have nothing to add
        """A block has ended."""

    @abstractmethod
    def _begin(self, id: str, model: str) -> None:
        """`id`: the upstream's, empty where it has none."""

    @abstractmethod
    def _opened(self, block: Block) -> Open: ...

    @abstractmethod
    def _finish(self, stop_reason: str | None, details: StopDetails | None) -> str:
        """Why it ended, in the client's word."""

    @abstractmethod
    def _end(self, used: Usage) -> None: ...
