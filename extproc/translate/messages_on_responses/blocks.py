"""Blocks of an answer whose parts may come in turns: one gives way only when its own end was told."""

from collections.abc import Callable
from typing import Any

from extproc.translate.for_messages.blocks_out import TextBlock, ThinkingBlock, ToolBlock
from extproc.translate.for_messages.call_names import CallNames
from extproc.translate.for_messages.sinks import Sink
from extproc.translate.messages_on_responses.reasoning import CARRIER
from extproc.translate.signature import seal
from extproc.wire.responses import Item

_COMPACTED = "(compacted by the provider, who alone can read it)"


class Text(TextBlock):
    """A part of a message."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        super().__init__()
        self.done = False

    def yields(self) -> bool:
        return self.done


class Call(ToolBlock):
    __slots__ = ("done",)

    def __init__(self, names: CallNames, warn: Callable[[str], None]) -> None:
        super().__init__(names, warn)
        self.done = False

    def yields(self) -> bool:
        return self.done


class Compaction:
    """What stands for the conversation so far; only the upstream can read it."""

    def __init__(self, item: Item) -> None:
        self._data = {"id": item.id or "", "encrypted_content": item.encrypted_content or ""}

    def write(self, sink: Sink) -> None:
        """Nothing of it comes in pieces."""

    def yields(self) -> bool:
        return True

    def is_cut(self, at_limit: bool) -> bool:
        return False

    def close(self, sink: Sink, at_limit: bool) -> None:
        # Clients take a compaction without text for one that failed.
        sink.open({"type": "compaction", "content": _COMPACTED, "encrypted_content": seal(CARRIER, self._data)})
        sink.stop()


class Sealed:
    """What brings a reasoning item back: its id, its encrypted content, and the text that was not shown."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.text: list[str] = []

    def keep(self, text: str) -> None:
        self.text.append(text)

    def seal(self) -> str:
        return seal(CARRIER, self.data or None, "".join(self.text) or None)


class Thinking(ThinkingBlock[Sealed]):
    """A reasoning item; no block at all when neither text nor encrypted content comes."""

    def __init__(self, *, shown: bool) -> None:
        super().__init__(Sealed(), shown=shown)
        self.done = False
        self._says = False

    def add(self, text: str) -> None:
        self._says = True
        super().add(text)

    def write(self, sink: Sink) -> None:
        if self._pending or self._opened:
            super().write(sink)

    def yields(self) -> bool:
        return self.done

    def close(self, sink: Sink, at_limit: bool) -> None:
        if self._says or "encrypted_content" in self.thought.data:
            super().write(sink)
            super().close(sink, at_limit)
