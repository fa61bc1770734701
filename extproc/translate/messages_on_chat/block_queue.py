"""Which block a piece of an answer belongs to, and which block may be written."""

from collections import deque
from typing import Any

from extproc.translate.messages_on_chat.asked import Asked
from extproc.translate.messages_on_chat.blocks_out import Block, TextBlock, ThinkingBlock, ToolBlock
from extproc.translate.messages_on_chat.calls import Calls
from extproc.translate.messages_on_chat.sinks import Sink
from extproc.translate.messages_on_chat.thought import Thought, call_signature
from extproc.wire.chat import ToolCall

MAX_WAITING = 8 * 1024 * 1024


class Overfull(Exception):
    """More waits behind the open block than we keep."""


class Queue:
    """Raises Overfull."""

    def __init__(self, asked: Asked, sink: Sink, calls: Calls) -> None:
        self._sink = sink
        self._calls = calls
        self._blocks: deque[Block] = deque()
        self._blank: list[str] = []
        """Blank text is no block of its own: clients' APIs refuse one in the history."""
        self._waiting = 0
        profile = asked.profile
        self._shown = asked.show_thinking == "yes"
        self._thinks = asked.show_thinking != "no"
        self._keeps = profile.reasoning_history != "none" and profile.emit_thinking != "never"
        self._hidden = Thought()
        """Reasoning nobody asked for, which a turn with calls needs back."""

    def text(self, text: str) -> None:
        tail = self._blocks[-1] if self._blocks else None
        if isinstance(tail, TextBlock):
            tail.add(text)
            self._advance(len(text))
        elif text.isspace():
            self._blank.append(text)
            self._wait(len(text))
        elif text:
            block = TextBlock()
            block.add("".join((*self._blank, text)))
            self._push(block, len(text))

    def thinking(self, carrier: str, text: str, details: list[Any] | None) -> None:
        if not self._thinks:
            if self._keeps:
                self._hidden.add(carrier, text, details, keep=True)
                self._wait(len(text))
            return
        tail = self._blocks[-1] if self._blocks else None
        if not isinstance(tail, ThinkingBlock):
            tail = ThinkingBlock(Thought(), shown=self._shown)
            self._push(tail, 0)
        tail.add(carrier, text, details)
        self._advance(len(text))

    def call(self, key: int | str | None, fragment: ToolCall, arguments: Any) -> int:
        """A fragment of a tool call; returns the size of its arguments."""
        block, new = self._calls.find(key, fragment, arguments)
        if signature := call_signature(fragment):
            self._sign(self._calls.fixed_id(block), signature)
        if new:
            self._reveal()
            self._push(block, 0)
        size = block.add(arguments)
        self._advance(size)
        return size

    def expect_calls(self, calls: list[ToolCall]) -> None:
        for call in calls:
            call.id = call.id or self._calls.make_id()
            if signature := call_signature(call):
                self._sign(call.id, signature)
            call.extra_content = None
        if calls:
            self._reveal()

    def finish_reached(self) -> None:
        """Closes what is complete; calls that are not may still get the rest of their arguments."""
        self._blank.clear()
        while self._blocks:
            block = self._blocks[0]
            block.write(self._sink)
            if not block.yields():
                return
            self._close_first(cut=False)

    def close(self, *, cut: bool, keep_blank: bool) -> None:
        """`cut`: the last call may be incomplete because the token limit was reached."""
        if self._hidden.signatures:
            self._reveal()
        if self._blank and keep_blank:
            block = TextBlock()
            block.add("".join(self._blank))
            self._push(block, 0)
        last = next((block for block in reversed(self._blocks) if isinstance(block, ToolBlock)), None)
        while self._blocks:
            self._close_first(cut=cut and self._blocks[0] is last)

    def _sign(self, id: str, signature: str) -> None:
        tail = self._blocks[-1] if self._blocks else None
        if isinstance(tail, ThinkingBlock):
            tail.thought.signatures[id] = signature
        elif self._thinks or self._keeps:
            self._hidden.signatures[id] = signature

    def _reveal(self) -> None:
        if self._hidden:
            hidden, self._hidden = self._hidden, Thought()
            self._push(ThinkingBlock(hidden, shown=False), 0)

    def _push(self, block: Block, size: int) -> None:
        self._blank.clear()
        self._blocks.append(block)
        self._advance(size)

    def _advance(self, size: int) -> None:
        """Writes the first block and closes it if it can give way. There is none when a call that was closed at the
        finish is spoken of again."""
        while self._blocks:
            first = self._blocks[0]
            first.write(self._sink)
            if len(self._blocks) == 1:
                self._waiting = 0
                return
            if not first.yields():
                self._wait(size)
                return
            self._close_first(cut=False)

    def _close_first(self, *, cut: bool) -> None:
        block = self._blocks.popleft()
        block.write(self._sink)
        block.close(self._sink, cut)

    def _wait(self, size: int) -> None:
        self._waiting += size
        if self._waiting > MAX_WAITING:
            raise Overfull
