"""Blocks of an answer besides text: what begins, what is added, what its end still has to say (mapping 4.7)."""

from typing import Any, ClassVar

from extproc.translate.chat_on_messages import thought
from extproc.translate.chat_on_messages.sinks import Call, Sink
from extproc.translate.on_messages.arguments import written
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


class ToolUse:
    """`sink` is None for calls that the client's dialect has no place for."""

    is_call: ClassVar[bool] = True

    def __init__(self, sink: Sink | None, call: Call, input: Any) -> None:
        self._sink = sink
        self._call = call
        self._input = input
        self._empty = True
        self._held: list[str] = []
        """Of a custom call, whose input must not be cut."""

    def begin(self) -> None:
        if self._sink is not None:
            self._sink.call(self._call)

    def add(self, delta: Delta) -> int:
        piece = delta.partial_json
        if not piece:
            return 0
        self._empty = False
        if self._call.custom:
            self._held.append(piece)
        elif self._sink is not None:
            self._sink.arguments(self._call, piece)
        return len(piece)

    def close(self) -> None:
        """Clients parse the arguments, so a call without any still has an object."""
        if self._sink is None:
            return
        if self._empty:
            self._sink.arguments(self._call, written(self._input))
        elif self._held:
            self._sink.arguments(self._call, "".join(self._held))
