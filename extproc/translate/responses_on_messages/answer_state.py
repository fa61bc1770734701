"""An answer on its way to a Responses client (mapping 6.5)."""

from extproc.translate.dialects.responses.usage import write_usage
from extproc.translate.names import made_id, message_suffix
from extproc.translate.on_messages import answer_state
from extproc.translate.on_messages.answer_state import DECLINED, Open, Skipped
from extproc.translate.on_messages.texts import Text
from extproc.translate.pair import Json, Outcome, Usage
from extproc.translate.responses_on_messages.asked import Asked
from extproc.translate.responses_on_messages.calls import Call, CallItem, CustomCall, FunctionCall, ShellCall
from extproc.translate.responses_on_messages.finish import COMPLETED, finish
from extproc.translate.responses_on_messages.items import Compaction, Reasoning, Said
from extproc.translate.responses_on_messages.output import Output
from extproc.wire.message_events import Block, StopDetails


class AnswerState(answer_state.AnswerState):
    def __init__(self, asked: Asked, output: Output, outcome: Outcome) -> None:
        super().__init__(asked, outcome)
        self._asked = asked
        self._output = output
        self._suffix = ""
        self._said: Said | None = None
        """The message that is being said."""
        self._spoke = False
        self._calls = 0
        self._incomplete = ""

    def _begin(self, id: str, model: str) -> None:
        self._suffix = message_suffix(id, self._asked.nonce)
        self._output.begin(f"resp_{self._suffix}", model)

    def _finish(self, stop_reason: str | None, details: StopDetails | None) -> str:
        self._end_message()
        if stop_reason == "refusal" and not self._spoke:
            Said(self._output, self._suffix).refuse((details and details.explanation) or DECLINED)
        self._incomplete, warning = finish(stop_reason)
        self.warn(warning)
        return self._incomplete or COMPLETED

    def _end(self, used: Usage) -> None:
        self._output.end(self._incomplete, write_usage(used))

    def _opened(self, block: Block) -> Open:
        match block.type:
            case "text":
                text = Text(self._say, self._cite, self._said.length if self._said else 0)
                self._count(text, text.begin(block))
                return text
            case "thinking":
                self._end_message()
                reasoning = Reasoning(self._output, self._suffix, shown=self._asked.profile.expose_reasoning)
                self._count(reasoning, reasoning.begin(block))
                return reasoning
            case "redacted_thinking" if block.data:
                self._end_message()
                Reasoning(self._output, self._suffix, shown=False).hidden(block.data)
                return Skipped()
            case "tool_use":
                self._end_message()
                return self._tool(block)
            case "compaction":
                return self._compaction(block)
            case _:
                return Skipped()

    def _say(self, text: str) -> None:
        self._spoke = True
        if self._said is None:
            self._said = Said(self._output, self._suffix)
        self._said.text(text)

    def _cite(self, found: list[Json]) -> None:
        if self._said is not None:
            self._said.cite(found)

    def _end_message(self) -> None:
        if self._said is not None:
            self._said.close()
            self._said = None

    def _tool(self, block: Block) -> CallItem:
        asked, name = self._asked, block.name or ""
        namespace, known_as = asked.namespaces.get(name, ("", asked.original_names.get(name, name)))
        call_id = block.id or made_id("call_", asked.nonce, self._calls)
        self._calls += 1
        kind: type[CallItem] = FunctionCall
        if name in asked.custom:
            kind = CustomCall
        elif name and name == asked.shell:
            kind = ShellCall
        return kind(self._output, self._suffix, Call(call_id, known_as, namespace, block.input))

    def _compaction(self, block: Block) -> Compaction:
        self._end_message()
        kept = Compaction(self._output, self._suffix)
        self._count(kept, kept.keep(block.content))
        return kept
