"""The items of a response: each comes by deltas, whole, or by both (docs/mapping.md 6.3, 6.4)."""

from collections.abc import Callable
from typing import Any

from extproc.translate.answer_events import AnswerEvent, Citations, Compacted, Warned
from extproc.translate.conversation import OPENAI_RESPONSES, CallKind
from extproc.translate.names import client_id, made_id
from extproc.translate.part_queue import CallPart, CompactionPart, PartQueue, ReasoningPart, TextPart, arguments_text
from extproc.translate.text_filter import TextFilter
from extproc.translate.translated import TranslatedRequest
from extproc.wire.responses import Event, Item, Part

SEAM = "\n\n"


class Items:
    """All items of one answer. Raises part_queue.QueueOverflow."""

    def __init__(self, request: TranslatedRequest) -> None:
        self.queue = PartQueue()
        self.request = request
        stops = request.stop_sequences if request.profile.local_stop else ()
        text_filter = TextFilter(prefill=request.prefill, stops=stops)
        self.filter = text_filter if text_filter.is_needed else None
        self.searches = 0
        self.refusals: list[str] = []
        self._by_id: dict[str, OutputItem] = {}
        self._by_index: dict[int, OutputItem] = {}
        self._all: list[OutputItem] = []
        self._ids: set[str] = set()
        self._made_ids = 0

    @property
    def stopped(self) -> str | None:
        return self.filter.matched if self.filter is not None else None

    @property
    def refusal(self) -> str:
        return "".join(self.refusals)

    @property
    def calls(self) -> int:
        return self.queue.calls

    @property
    def has_cut_call(self) -> bool:
        return self.queue.has_cut_call

    def take(self) -> list[AnswerEvent]:
        return self.queue.take()

    def find(self, event: Event, kind: str, item: Item | None = None) -> "OutputItem":
        """The item that an event belongs to. Some gateways give an item another id in each event, others none; then
        its place tells."""
        item_id = event.item_id or (item.id if item is not None else None) or ""
        found = self._by_id.get(item_id)
        if found is None and event.output_index is not None:
            found = self._by_index.get(event.output_index)
        if found is None:
            found = self._add(kind)
            if event.output_index is not None:
                self._by_index[event.output_index] = found
        if item_id:
            self._by_id[item_id] = found
        if item is not None:
            found.describe(item)
        return found

    def end(self, whole: list[Item], *, at_limit: bool) -> None:
        """The answer is complete. `whole`: its items, which count where no events came."""
        for item in whole if not self._all else ():
            self._add(item.type or "").read_whole(item)
        for output_item in self._all:
            output_item.close()
        self.queue.close(at_limit=at_limit)

    def call_id(self, upstream_id: str) -> str:
        """The id by which the client knows a call; unique in this answer."""
        wanted = client_id(upstream_id) if upstream_id else ""
        if not wanted:
            self._made_ids += 1
            wanted = made_id(self.request.shape.call_prefix, self.request.nonce, self._made_ids)
        unique, n = wanted, 1
        while unique in self._ids:
            n += 1
            unique = f"{wanted}_{n}"
        self._ids.add(unique)
        return unique

    def _add(self, kind: str) -> "OutputItem":
        made = self._make(kind)
        self._all.append(made)
        return made

    def _make(self, kind: str) -> "OutputItem":
        if self.stopped is not None:
            return OutputItem(self)
        if kind not in KINDS:
            self.queue.out.append(Warned(f"dropped:{kind if kind in DROPPED else 'output'}"))
        return KINDS.get(kind, OutputItem)(self)


class OutputItem:
    """One that means nothing to the client."""

    def __init__(self, items: Items) -> None:
        self.items = items

    def describe(self, item: Item) -> None:
        """What the event that adds or ends it says of it."""

    def delta(self, event: Event) -> None:
        """A piece."""

    def part_done(self, event: Event) -> None:
        """The whole of one of its parts, or of its arguments."""

    def done(self, item: Item) -> None:
        """The whole of it."""

    def close(self) -> None:
        """Nothing more comes, although its end was not sent."""

    def read_whole(self, item: Item) -> None:
        """All of it, in an answer without events."""
        self.describe(item)
        self.done(item)


class _Search(OutputItem):
    def done(self, item: Item) -> None:
        # OpenAI sends an item for each search; Anthropic counts them in the usage.
        self.items.searches += 1


class _Compaction(OutputItem):
    def done(self, item: Item) -> None:
        queue = self.items.queue
        if self.items.request.profile.compaction and item.encrypted_content:
            data = {"id": item.id or "", "encrypted_content": item.encrypted_content}
            queue.push(CompactionPart(Compacted("", OPENAI_RESPONSES, data)))
        else:
            queue.out.append(Warned("dropped:compaction"))


class _Message(OutputItem):
    """Its parts are told apart by `content_index`, whatever number a server begins with."""

    def __init__(self, items: Items) -> None:
        super().__init__(items)
        self._parts: dict[int, _MessagePart] = {}

    def delta(self, event: Event) -> None:
        part = self._part(event.content_index)
        if part.is_ended and event.delta:  # text after its end is a part of its own
            part = self._parts[event.content_index or 0] = _MessagePart(self.items)
        part.add(event.delta or "", refusal=event.type == "response.refusal.delta", logprobs=event.logprobs)

    def part_done(self, event: Event) -> None:
        part = self._ending_part(event.content_index)
        if not part.has_text:
            part.add(event.text or event.refusal or "", refusal=event.type == "response.refusal.done")
        part.end()

    def done(self, item: Item) -> None:
        for told, part in self._matched(item.content or []):
            if not part.has_text:
                part.add(told.text or told.refusal or "", refusal=told.type == "refusal", logprobs=told.logprobs)
            part.cite(told.annotations or [])
            part.end()
        self.close()

    def close(self) -> None:
        for part in self._parts.values():
            part.end()

    def _ending_part(self, index: int | None) -> "_MessagePart":
        """Bedrock counts parts from another number where they end: the only open one is meant."""
        is_unknown = (index or 0) not in self._parts
        open_parts = [part for part in self._parts.values() if part.has_text and not part.is_ended]
        return open_parts[0] if is_unknown and len(open_parts) == 1 else self._part(index)

    def _matched(self, content: list[Part]) -> list[tuple[Part, "_MessagePart"]]:
        """The parts of the whole item beside those that came by events, in their order."""
        known = [part for _, part in sorted(self._parts.items())]
        while len(known) < len(content):
            known.append(self._part(max(self._parts, default=-1) + 1))
        return list(zip(content, known, strict=False))

    def _part(self, index: int | None) -> "_MessagePart":
        return self._parts.setdefault(index or 0, _MessagePart(self.items))


class _MessagePart:
    def __init__(self, items: Items) -> None:
        self.has_text = False
        self._items = items
        self._part: TextPart | None = None
        self.is_ended = False

    def add(self, text: str, *, refusal: bool, logprobs: list[Any] | None = None) -> None:
        if not text or self.is_ended or self._items.stopped is not None:
            return
        self.has_text = True
        if refusal:
            self._items.refusals.append(text)
            self._write(text, refusal=True)
        elif self._items.filter is not None:
            self._write_filtered(self._items.filter.feed(text))
        elif self._part is not None:
            self._items.queue.add_text(self._part, text)
        else:
            self._write(text)
        if logprobs and self._part is not None:
            self._part.add_logprobs(logprobs)

    def cite(self, annotations: list[Any]) -> None:
        cited = [found for found in map(_citation, annotations) if found is not None]
        if cited and self._part is not None and not self.is_ended:
            self._part.cite(cited)
        elif cited:
            self._items.queue.out.append(Citations(tuple(cited)))
        if len(cited) < len(annotations):
            self._items.queue.out.append(Warned("dropped:annotations"))

    def end(self) -> None:
        if self.is_ended:
            return
        self.is_ended = True
        if self._items.filter is not None:
            self._write_filtered(self._items.filter.flush())
        if self._part is not None:
            self._part.ended = True
            self._items.queue.advance(0)

    def _write_filtered(self, found: list[tuple[bool, str]]) -> None:
        for _, text in found:
            self._write(text)

    def _write(self, text: str, *, refusal: bool = False) -> None:
        queue = self._items.queue
        if self._part is None:
            self._part = TextPart(refusal=refusal)
            self._part.add(text)
            queue.push(self._part, len(text))
        else:
            queue.add_text(self._part, text)


def _citation(annotation: Any) -> dict[str, Any] | None:
    """The members of a `url_citation`; other kinds name files that only the provider has."""
    if not isinstance(annotation, dict) or annotation.get("type") != "url_citation":
        return None
    names = ("start_index", "end_index", "title", "url")
    return {name: annotation[name] for name in names if name in annotation}


class _Reasoning(OutputItem):
    def __init__(self, items: Items) -> None:
        super().__init__(items)
        self._part = ReasoningPart(OPENAI_RESPONSES)
        self._kind: str | None = None
        """Summary or full text: where both come, the first one counts."""
        self._index: int | None = None
        items.queue.push(self._part)

    def delta(self, event: Event) -> None:
        # Servers of open models stream the reasoning itself, OpenAI a summary, and a few send both.
        self._kind = self._kind or event.type
        if not event.delta or event.type != self._kind or self._part.ended:
            return
        index = event.summary_index if event.summary_index is not None else event.content_index
        self._add((SEAM if self._index not in (None, index) else "") + event.delta)
        self._index = index

    def done(self, item: Item) -> None:
        """Only here is the encrypted content complete."""
        if self._part.ended:
            return
        if self._kind is None and (text := _joined(item.summary) or _joined(item.content)):
            self._add(text)
        members = {"id": item.id, "encrypted_content": item.encrypted_content}
        # An id alone names what OpenAI has stored, which here is nothing.
        if item.encrypted_content:
            self._part.data = {name: value for name, value in members.items() if value}
        self.close()

    def close(self) -> None:
        self._part.ended = True
        self.items.queue.advance(0)

    def _add(self, text: str) -> None:
        self._part.add(text)
        self.items.queue.advance(len(text))


def _joined(parts: list[Part] | None) -> str:
    return SEAM.join(part.text for part in parts or () if part.text)


class _Call(OutputItem):
    kind: CallKind = "function"

    def __init__(self, items: Items) -> None:
        super().__init__(items)
        self._part = CallPart(self.kind)
        items.queue.push(self._part)

    def describe(self, item: Item) -> None:
        if self._part.name or not item.name:
            return
        # As the tool was declared: its namespace is part of the name that the client's dialect has.
        name = f"{item.namespace}__{item.name}" if item.namespace else item.name
        name = self.items.request.names.get(name, name)
        self._part.identify(self.items.call_id(item.call_id or item.id or ""), name)
        self.items.queue.advance(0)

    def delta(self, event: Event) -> None:
        self._add(event.delta or "")

    def part_done(self, event: Event) -> None:
        self._add_rest(self._whole(event))

    def done(self, item: Item) -> None:
        self._add_rest(self._whole(item))
        self._part.whole = item.status == "completed"
        self._part.is_unfinished = item.status == "incomplete"
        self.close()

    def close(self) -> None:
        self._part.ended = True
        self.items.queue.advance(0)

    def _whole(self, told: Event | Item) -> str:
        return arguments_text(told.arguments)

    def _add_rest(self, whole: str) -> None:
        known = self._part.arguments
        # The event that ends arguments repeats them, and some servers send no deltas before it.
        if whole.startswith(known):
            self._add(whole[len(known) :])

    def _add(self, text: str) -> None:
        if text and not self._part.ended:
            self.items.queue.advance(self._part.add(text))


class _CustomCall(_Call):
    kind: CallKind = "custom"

    def _whole(self, told: Event | Item) -> str:
        return told.input or ""


KINDS: dict[str, Callable[[Items], OutputItem]] = {
    "message": _Message,
    "reasoning": _Reasoning,
    "function_call": _Call,
    "custom_tool_call": _CustomCall,
    "web_search_call": _Search,
    "compaction": _Compaction,
}
# They cannot come, since no tool that leads to them is declared, unless the configuration or the provider adds one.
DROPPED = frozenset((
    "additional_tools", "apply_patch_call", "apply_patch_call_output", "code_interpreter_call", "computer_call",
    "computer_call_output", "custom_tool_call_output", "file_search_call", "function_call_output",
    "image_generation_call", "local_shell_call", "local_shell_call_output", "mcp_approval_request",
    "mcp_approval_response", "mcp_call", "mcp_list_tools", "program", "program_output", "shell_call",
    "shell_call_output", "tool_search_call", "tool_search_output",
))  # fmt: skip
