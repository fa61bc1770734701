"""Which block a piece of an answer belongs to, and which block may be written."""

from typing import Any

from extproc.translate.dialects.chat.read_reasoning import call_signature
from extproc.translate.for_messages.asked import Asked
from extproc.translate.for_messages.block_queue import BlockQueue
from extproc.translate.for_messages.blocks_out import Block, TextBlock, ThinkingBlock
from extproc.translate.for_messages.sinks import Sink
from extproc.translate.messages_on_chat.calls import Calls
from extproc.translate.messages_on_chat.thought import Thought
from extproc.wire.chat import ToolCall


class Queue:
    """Raises Overfull."""

    def __init__(self, asked: Asked, sink: Sink, calls: Calls) -> None:
        self._calls = calls
        self._blocks = BlockQueue(sink)
        self._blank: list[str] = []
        """Blank text is no block of its own: clients' APIs refuse one in the history."""
        profile = asked.profile
        self._shown = asked.show_thinking == "yes"
        self._thinks = asked.show_thinking != "no"
        self._keeps = profile.reasoning_history != "none" and profile.emit_thinking != "never"
        self._hidden = Thought()
        """Reasoning nobody asked for, which a turn with calls needs back."""

    def text(self, text: str) -> None:
        tail = self._blocks.tail
        if isinstance(tail, TextBlock):
            tail.add(text)
            self._blocks.advance(len(text))
        elif text.isspace():
            self._blank.append(text)
            self._blocks.wait(len(text))
        elif text:
            block = TextBlock()
            block.add("".join((*self._blank, text)))
            self._push(block, len(text))

    def thinking(self, carrier: str, text: str, details: list[Any] | None) -> None:
        if not self._thinks:
            if self._keeps:
                self._hidden.add(carrier, details)
                self._hidden.keep(text)
                self._blocks.wait(len(text))
            return
        tail = self._blocks.tail
        if not isinstance(tail, ThinkingBlock):
            tail = ThinkingBlock(Thought(), shown=self._shown)
            self._push(tail, 0)
        tail.thought.add(carrier, details)
        if text:
            tail.add(text)
        self._blocks.advance(len(text))

    def call(self, key: int | str | None, fragment: ToolCall, arguments: Any) -> int:
        """A fragment of a tool call; returns the size of its arguments."""
        block, new = self._calls.find(key, fragment, arguments)
        if signature := call_signature(fragment):
            self._sign(self._calls.fixed_id(block), signature)
        if new:
            self._reveal()
            self._push(block, 0)
        size = block.add(arguments)
        self._blocks.advance(size)
        return size

    def expect_calls(self, calls: list[ToolCall]) -> None:
        for call in calls:
            call.id = call.id or self._calls.names.make_id()
            if signature := call_signature(call):
                self._sign(call.id, signature)
            call.extra_content = None
        if calls:
            self._reveal()

    def finish_reached(self) -> None:
        """Closes what is complete; calls that are not may still get the rest of their arguments."""
        self._blank.clear()
        self._blocks.finish_reached()

    def is_cut(self) -> bool:
        """Whether a call is not finished, should the answer end here without saying why."""
        return self._blocks.is_cut()

    def close(self, *, at_limit: bool, keep_blank: bool) -> None:
        """`at_limit`: calls may be incomplete because the token limit was reached."""
        if self._hidden.signatures:
            self._reveal()
        if self._blank and keep_blank:
            block = TextBlock()
            block.add("".join(self._blank))
            self._push(block, 0)
        self._blocks.close(at_limit=at_limit)

    def _sign(self, id: str, signature: str) -> None:
        tail = self._blocks.tail
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
        self._blocks.push(block, size)
