"""The items of an answer's output: each is told by deltas, whole, or by both (mapping 6.3, 6.4)."""

from collections.abc import Callable
from typing import Any

import msgspec

from extproc.translate.messages_on_responses.blocks import Call, Compaction, Text
from extproc.translate.messages_on_responses.output import Output
from extproc.wire.responses import Event, Item, Part

SEAM = "\n\n"


class OutputItem:
    """One that says nothing to the client."""

    def __init__(self, output: Output) -> None:
        self.output = output

    def delta(self, event: Event) -> None:
        """A piece."""

    def part_done(self, event: Event) -> None:
        """The whole of a part of it, or of its arguments."""

    def done(self, item: Item) -> None:
        """The whole of it."""

    def close(self, *, whole: bool) -> None:
        """Nothing more comes, although its end was not told. `whole`: the answer is complete."""


class Search(OutputItem):
    def done(self, item: Item) -> None:
        self.output.searches += 1


class Compacted(OutputItem):
    def done(self, item: Item) -> None:
        if self.output.compacts and item.encrypted_content:
            self.output.blocks.push(Compaction(item), 0)
        else:
            self.output.account.warn("dropped:compaction")


class Message(OutputItem):
    """Its parts are told apart by `content_index`; that of the whole item may count from another number (Bedrock)."""

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._parts: dict[int, _Spoken] = {}

    def delta(self, event: Event) -> None:
        self._part(event.content_index).say(event.delta or "", refusal=event.type == "response.refusal.delta")

    def part_done(self, event: Event) -> None:
        known = [part for part in self._parts.values() if not part.ended]
        unheard = (event.content_index or 0) not in self._parts and len(known) == 1
        part = known[0] if unheard else self._part(event.content_index)
        part.settle(event.text or event.refusal or "", refusal=event.type == "response.refusal.done")

    def done(self, item: Item) -> None:
        content = item.content or []
        shifted = any(key >= len(content) for key in self._parts)
        in_order = list(self._parts) if shifted else []
        for n, part in enumerate(content):
            heard = self._part(in_order[n] if n < len(in_order) else n)
            heard.settle(part.text or part.refusal or "", refusal=part.type == "refusal")
            if part.annotations:
                self.output.account.warn("dropped:annotations")
        self.close(whole=True)

    def close(self, *, whole: bool) -> None:
        for part in self._parts.values():
            part.end()

    def _part(self, index: int | None) -> "_Spoken":
        return self._parts.setdefault(index or 0, _Spoken(self.output))


class _Spoken:
    """A part of a message. Blank text is no block of its own: clients' APIs refuse one in the history."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._block: Text | None = None
        self._blank = ""
        self._heard = False
        self.ended = True

    def say(self, text: str, *, refusal: bool) -> None:
        if not text or self._output.stopped:
            return
        self._heard, self.ended = True, False
        if refusal:
            self._output.refusal.append(text)
        if refusal or self._output.speech is None:
            self._write(text)
        else:
            self._spoken(self._output.speech.feed(text))

    def settle(self, text: str, *, refusal: bool) -> None:
        if not self._heard:
            self.say(text, refusal=refusal)
        self.end()

    def end(self) -> None:
        if self.ended:
            return
        self.ended = True
        if self._output.speech is not None:
            self._spoken(self._output.speech.flush())
        if self._block is not None:
            self._block.done = True
            self._output.blocks.advance(0)

    def _spoken(self, found: list[tuple[bool, str]]) -> None:
        for _, text in found:
            self._write(text)

    def _write(self, text: str) -> None:
        if self._block is None or self._block.done:
            self._blank += text
            if not self._blank.isspace():
                text, self._blank = self._blank, ""
                self._block = Text()
                self._block.add(text)
                self._output.blocks.push(self._block, 0)
                self._output.grow(text)
            return
        self._block.add(text)
        self._output.grow(text)


class Reasoning(OutputItem):
    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._block = output.thought()
        self._kind: str | None = None
        """Summary or full text: where both come, the first one counts."""
        self._index: int | None = None

    def delta(self, event: Event) -> None:
        self._kind = self._kind or event.type
        if not event.delta or event.type != self._kind or self._block.done:
            return
        index = event.summary_index if event.summary_index is not None else event.content_index
        self._add((SEAM if self._index not in (None, index) else "") + event.delta)
        self._index = index

    def done(self, item: Item) -> None:
        if self._block.done:
            return
        if self._kind is None and (text := _joined(item.summary) or _joined(item.content)):
            self._add(text)
        members = {"id": item.id, "encrypted_content": item.encrypted_content}
        self._block.thought.data = {name: value for name, value in members.items() if value}
        self._block.done = True
        self.output.blocks.advance(0)

    def _add(self, text: str) -> None:
        self._block.add(text)
        self.output.grow(text)


def _joined(parts: list[Part] | None) -> str:
    return SEAM.join(part.text for part in parts or () if part.text)


class ToolCall(OutputItem):
    def __init__(self, output: Output) -> None:
        super().__init__(output)
        output.expect_call()
        self._block = Call(output.names, output.account.warn)
        self._heard: list[str] = []
        output.blocks.push(self._block, 0)

    def name(self, item: Item) -> None:
        """What the first event of the call says."""
        if not self._block.name and item.name:
            named = f"{item.namespace}__{item.name}" if item.namespace else item.name
            self._block.call_it(item.call_id or item.id, named)
            self.output.blocks.advance(0)

    def delta(self, event: Event) -> None:
        self._add(event.delta or "")

    def part_done(self, event: Event) -> None:
        self._rest(event.arguments)

    def done(self, item: Item) -> None:
        self.name(item)
        self._rest(item.arguments)
        self._end(item)

    def _end(self, item: Item) -> None:
        self._block.unfinished = item.status == "incomplete"
        self._block.done = True
        self.output.blocks.advance(0)

    def _rest(self, whole: Any) -> None:
        heard = "".join(self._heard)
        if isinstance(whole, str) and whole.startswith(heard):
            self._add(whole[len(heard) :])
        elif whole is not None and not heard:
            self.output.account.size += self._block.add(whole)
            self.output.blocks.advance(0)

    def _add(self, text: str) -> None:
        if text:
            self._heard.append(text)
            self._write(text)

    def _write(self, arguments: str) -> None:
        self._block.add(arguments)
        self.output.grow(arguments)


class CustomCall(ToolCall):
    """Its free text is the one member of an object, written as it comes."""

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._block.free_text = True
        self._closed = False

    def part_done(self, event: Event) -> None:
        self._rest(event.input)

    def done(self, item: Item) -> None:
        self.name(item)
        self._rest(item.input)
        self._block.free_text = item.status != "completed"
        self.close(whole=item.status != "incomplete")
        self._end(item)

    def close(self, *, whole: bool) -> None:
        if whole and not self._closed:
            self._closed = True
            self._write(f'{self._opening()}"}}')

    def _add(self, text: str) -> None:
        if text and not self._closed:
            opening = self._opening()
            self._heard.append(text)
            self._write(opening + msgspec.json.encode(text).decode()[1:-1])

    def _opening(self) -> str:
        return "" if self._heard else '{"input":"'


KINDS: dict[str, Callable[[Output], OutputItem]] = {
    "message": Message,
    "reasoning": Reasoning,
    "function_call": ToolCall,
    "custom_tool_call": CustomCall,
    "web_search_call": Search,
    "compaction": Compacted,
}
CALLS = frozenset(("function_call", "custom_tool_call"))
# They cannot come, since no tool that leads to them is declared, unless the configuration or the upstream adds one.
DROPPED = frozenset((
    "additional_tools", "apply_patch_call", "apply_patch_call_output", "code_interpreter_call",
    "computer_call", "computer_call_output", "custom_tool_call_output", "file_search_call", "function_call_output",
    "image_generation_call", "local_shell_call", "local_shell_call_output", "mcp_approval_request",
    "mcp_approval_response", "mcp_call", "mcp_list_tools", "program", "program_output", "shell_call",
    "shell_call_output", "tool_search_call", "tool_search_output",
))  # fmt: skip
