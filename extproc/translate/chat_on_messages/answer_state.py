"""An answer on its way to a Chat client (mapping 4.6)."""

from extproc.translate.chat_on_messages import thought
from extproc.translate.chat_on_messages.asked import Asked
from extproc.translate.chat_on_messages.blocks import Thinking, ToolUse
from extproc.translate.chat_on_messages.finish import finish
from extproc.translate.chat_on_messages.sinks import Call, Head, Sink
from extproc.translate.chat_on_messages.tier import tier
from extproc.translate.dialects.chat.usage import write_usage
from extproc.translate.names import completion_id, made_id
from extproc.translate.on_messages import answer_state
from extproc.translate.on_messages.answer_state import DECLINED, Open, Skipped
from extproc.translate.on_messages.texts import Text
from extproc.translate.pair import Json, Outcome, Usage
from extproc.wire.message_events import Block, StopDetails


class AnswerState(answer_state.AnswerState):
    def __init__(self, asked: Asked, sink: Sink, outcome: Outcome) -> None:
        super().__init__(asked, outcome)
        self._asked = asked
        self._sink = sink
        self._tier: str | None = None
        self._calls = 0
        self._thoughts = 0
        self._thought = False
        """Some thinking had text."""
        self._position = 0
        """Characters of text so far."""

    def _begin(self, id: str, model: str) -> None:
        self._sink.start(Head(completion_id(id, self._asked.nonce), int(self._asked.now), model))

    def _use(self, told: Json | None) -> None:
        super()._use(told)
        self._tier = tier(told) or self._tier

    def _finish(self, stop_reason: str | None, details: StopDetails | None) -> str:
        if stop_reason == "refusal":
            self._sink.refusal((details and details.explanation) or DECLINED)
        reason, warning = finish(stop_reason, calls=self._calls > 0, legacy=self._asked.legacy)
        self.warn(warning)
        self._sink.finish(reason)
        return reason

    def _end(self, used: Usage) -> None:
        self._sink.end(write_usage(used), self._tier)

    def _count(self, block: Open, added: int) -> None:
        super()._count(block, added)
        if isinstance(block, Text):
            self._position += added

    def _closed(self, block: Open) -> None:
        if isinstance(block, Thinking):
            self._thought = self._thought or block.said

    def _opened(self, block: Block) -> Open:
        match block.type:
            case "text":
                text = Text(self._sink.text, self._cite, self._position)
                self._count(text, text.begin(block))
                return text
            case "thinking":
                return self._thinking(block)
            case "redacted_thinking":
                if block.data:
                    self._sink.detail(thought.encrypted(self._thoughts, block.data))
                    self._thoughts += 1
                return Skipped()
            case "tool_use":
                return self._tool(block)
            case _:
                return Skipped()

    def _cite(self, found: list[Json]) -> None:
        self._sink.annotations([{"type": "url_citation", "url_citation": citation} for citation in found])

    def _thinking(self, block: Block) -> Thinking:
        shown, seam = self._asked.profile.expose_reasoning, "\n\n" if self._thought else ""
        opened = Thinking(self._sink, self._thoughts, shown=shown, seam=seam)
        self._thoughts += 1
        self._count(opened, opened.begin(block))
        return opened

    def _tool(self, block: Block) -> ToolUse:
        asked, name = self._asked, block.name or ""
        call = Call(
            index=self._calls,
            id=block.id or made_id("call_", asked.nonce, self._calls),
            name=asked.original_names.get(name, name),
            custom=name in asked.custom,
        )
        self._calls += 1
        fits = not asked.legacy or call.index == 0
        if not fits:
            self.warn("dropped:tool_calls")
        opened = ToolUse(self._sink if fits else None, call, block.input)
        opened.begin()
        return opened
