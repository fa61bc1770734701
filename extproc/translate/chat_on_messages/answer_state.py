"""What an answer has said so far, and how it ends; the same for one message and for its events."""

from extproc.translate.chat_on_messages import thought, usage
from extproc.translate.chat_on_messages.asked import Asked
from extproc.translate.chat_on_messages.blocks import Open, Skipped, Text, Thinking, ToolUse
from extproc.translate.chat_on_messages.finish import DECLINED, finish
from extproc.translate.chat_on_messages.sinks import Call, Head, Sink
from extproc.translate.names import completion_id, made_id
from extproc.translate.pair import Json, Outcome, Usage
from extproc.wire.message_events import Block, Delta, Message, StopDetails

# Deltas that show what their block is, should its start be missing.
_TELLING = {"text_delta": "text", "thinking_delta": "thinking"}
_BYTES_PER_TOKEN = 4


class AnswerState:
    def __init__(self, asked: Asked, sink: Sink, outcome: Outcome) -> None:
        self._asked = asked
        self._sink = sink
        self._outcome = outcome
        self._blocks: dict[int, Open] = {}
        self._usage: Usage | None = None
        self._tier: str | None = None
        self._settled = False
        """The count of what was written is the upstream's last."""
        self._calls = 0
        self._thoughts = 0
        self._thought = False
        """Some thinking had text."""
        self._position = 0
        """Characters of text so far."""
        self.started = False
        self.finished = False
        self.size = 0

    @property
    def in_call(self) -> bool:
        return any(isinstance(block, ToolUse) for block in self._blocks.values())

    def warn(self, word: str) -> None:
        if word and word not in self._outcome.warnings and self._asked.profile.strictness != "silent":
            self._outcome.warnings.append(word)

    def start(self, message: Message) -> None:
        """The client learns of the answer; from here on a failure can only be an event."""
        self._use(message.usage)
        if self.started:
            return
        self.started = self._outcome.begun = True
        asked, model = self._asked, message.model or ""
        self._outcome.model = model
        name = model if model and asked.profile.response_model == "upstream" else asked.model
        self._sink.start(Head(completion_id(message.id or "", asked.nonce), int(asked.now), name))

    def open(self, index: int, block: Block) -> None:
        if index in self._blocks:
            self.close(index)
        self._blocks[index] = self._opened(block)

    def add(self, index: int, delta: Delta) -> None:
        block = self._blocks.get(index)
        if block is None:
            kind = _TELLING.get(delta.type or "")
            if kind is None:
                return
            block = self._blocks[index] = self._opened(Block(type=kind))
        self._count(block, block.add(delta))

    def close(self, index: int) -> None:
        block = self._blocks.pop(index, None)
        if block is not None:
            block.close()
        if isinstance(block, Thinking):
            self._thought = self._thought or block.said

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
        if stop_reason == "refusal":
            self._sink.refusal((details and details.explanation) or DECLINED)
        reason, warning = finish(stop_reason, calls=self._calls > 0, legacy=self._asked.legacy)
        self.warn(warning)
        self._outcome.finish_reason = reason
        self._sink.finish(reason)

    def end(self) -> None:
        if self._usage is None:
            self.warn("usage_missing")
        self.measure()
        self._outcome.complete = True
        self._sink.end(usage.write(self._outcome.usage or Usage()), self._tier)

    def measure(self) -> None:
        """Keeps the outcome's usage true at any moment, since the client may leave at any."""
        if self._settled or self._asked.profile.missing_usage == "zero":
            return
        estimate = -(-self.size // _BYTES_PER_TOKEN)
        if self._usage is None and self.started:
            self._usage = Usage(input_tokens=-(-len(self._asked.body) // _BYTES_PER_TOKEN))
        if self._usage is not None:
            self._usage.output_tokens = max(self._usage.output_tokens, estimate)
            self._outcome.usage = self._usage

    def _use(self, told: Json | None) -> None:
        self._usage = usage.merge(self._usage, told)
        self._tier = usage.tier(told) or self._tier
        if self._usage is not None:
            self._outcome.usage = self._usage

    def _count(self, block: Open, added: int) -> None:
        self.size += added
        if isinstance(block, Text):
            self._position += added

    def _opened(self, block: Block) -> Open:
        match block.type:
            case "text":
                text = Text(self._sink, self._position)
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
