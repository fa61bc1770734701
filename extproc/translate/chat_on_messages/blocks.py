"""Blocks of an answer besides text: what begins, what is added, what its end still has to say (mapping 4.7)."""

from typing import Any, ClassVar

from extproc.translate.chat_on_messages import thought
from extproc.translate.chat_on_messages.sinks import Call, Sink
from extproc.translate.on_messages.calls import ToolCall
from extproc.wire.message_events import Block, Delta


class Thinking:
    is_call: ClassVar[bool] = False

    def __init__(self, sink: Sink, index: int, *, shown: bool, seam: str) -> None:
        self._sink = sink
        self._index = index
        self._shown = shown
        self._seam = seam
        """Stands between this and the thinking before."""
        self._texts: list[str] = []
        self._signature = ""

    def begin(self, block: Block) -> int:
        self._signature += block.signature or ""
        return self._think(block.thinking)

    def add(self, delta: Delta) -> int:
        self._signature += delta.signature or ""
        return self._think(delta.thinking)

    def _think(self, text: str | None) -> int:
        if not text:
            return 0
        if self._shown:
            self._sink.reasoning(text if self._texts else self._seam + text)
        self._texts.append(text)
        return len(text)

    @property
    def said(self) -> bool:
        return bool(self._texts)

    def close(self) -> None:
        if self._signature:
            self._sink.detail(thought.detail(self._index, text="".join(self._texts), signature=self._signature))


class ToolUse(ToolCall):
    """`sink` is None for calls that the client's dialect has no place for."""

    def __init__(self, sink: Sink | None, call: Call, input: Any) -> None:
        super().__init__(call.id, input)
        self._sink = sink
        self._call = call

    def begin(self) -> None:
        if self._sink is not None:
            self._sink.call(self._call)

    def write_piece(self, piece: str) -> None:
        if self._sink is not None and not self._call.custom:
            self._sink.arguments(self._call, piece)

    def complete(self, arguments: str) -> None:
        """The input of a custom call must not be cut, so it is written whole."""
        if self._sink is not None and self._call.custom:
            self._sink.arguments(self._call, arguments)

    def cut_short(self) -> None:
        if self._sink is not None:
            self._sink.cut_short(self._call)
