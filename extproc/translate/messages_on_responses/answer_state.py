"""What an answer has said so far, and how it ends; the same for one response and for its events."""

from extproc.translate.dialects.responses.usage import read_usage
from extproc.translate.for_messages.account import Account
from extproc.translate.for_messages.asked import Asked
from extproc.translate.for_messages.block_queue import BlockQueue
from extproc.translate.for_messages.ending import Ending, without_tools
from extproc.translate.for_messages.sinks import Sink
from extproc.translate.messages_on_responses import finish
from extproc.translate.messages_on_responses.items_out import CALLS, DROPPED, KINDS, OutputItem, ToolCall
from extproc.translate.messages_on_responses.output import Output
from extproc.translate.pair import Outcome, Usage
from extproc.wire.responses import Event, Item, Response


class AnswerState:
    def __init__(self, asked: Asked, sink: Sink, outcome: Outcome) -> None:
        self.account = Account(asked, sink, outcome)
        self._blocks = BlockQueue(sink)
        self._output = Output(asked, self._blocks, self.account)
        self._items: dict[int | str, OutputItem] = {}
        self._by_id: dict[str, OutputItem] = {}

    @property
    def stopped(self) -> bool:
        """A stop sequence was found that the upstream did not look for."""
        return self._output.stopped is not None

    @property
    def is_cut(self) -> bool:
        """A call is not finished, and the upstream has not said why the answer ended."""
        return not self.stopped and self._blocks.is_cut()

    def start(self, response: Response) -> None:
        self.account.start(response.id or "", response.model or "", self._usage(response), response.service_tier)

    def begun(self, event: Event) -> None:
        """An item is added."""
        if event.item is not None:
            self._item(event, event.item.type or "", event.item)

    def delta(self, event: Event, kind: str) -> None:
        self._item(event, kind).delta(event)

    def part_done(self, event: Event, kind: str) -> None:
        self._item(event, kind).part_done(event)

    def done(self, event: Event) -> None:
        if event.item is not None:
            event.item_id = event.item_id or event.item.id
            self._item(event, event.item.type or "", event.item).done(event.item)

    def hear_whole(self, items: list[Item]) -> None:
        """An answer without events. What follows reasoning is known, so it stands where the model put it."""
        if any(item.type in CALLS for item in items):
            self._output.expect_call()
        for n, item in enumerate(items):
            self._item(Event(output_index=n), item.type or "", item).done(item)

    def use(self, response: Response) -> None:
        self.account.use(self._usage(response))

    def end(self, response: Response, status: str) -> None:
        self._close_items(response, whole=status == "completed")
        self._blocks.close(at_limit=finish.is_at_limit(response, status))
        self.use(response)
        names = self._output.names
        refusal = "".join(self._output.refusal)
        ending = finish.ending(response, status, names.given > 0, refusal, self._output.stopped)
        self.account.end(without_tools(ending) if names.cut else ending)

    def refuse(self, response: Response, ending: Ending) -> None:
        """The answer is at its end, since the upstream's guard stopped it. What was said so far stays."""
        self._close_items(response, whole=False)
        self._blocks.close()
        self.use(response)
        self.account.end(ending)

    def _close_items(self, response: Response, *, whole: bool) -> None:
        if not self._items:
            self.hear_whole(response.output or [])
        for item in self._items.values():
            item.close(whole=whole)

    def _item(self, event: Event, kind: str, item: Item | None = None) -> OutputItem:
        """The item that an event belongs to, found by its index or else by its id. Some providers count the indexes of
        one item's events in two ways, others give each event an id of its own."""
        known = self._by_id.get(event.item_id or "")
        item_id = event.item_id or (item.id if item else None) or ""
        name: int | str = event.output_index if event.output_index is not None else item_id
        found = self._items.get(name) or known
        if found is None:
            found = self._items[name] = self._make(kind)
        if item_id:
            self._by_id.setdefault(item_id, found)
        if item is not None and isinstance(found, ToolCall):
            found.name(item)
        return found

    def _make(self, kind: str) -> OutputItem:
        if self._output.stopped:
            return OutputItem(self._output)
        if kind not in KINDS:
            self.account.warn(f"dropped:{kind if kind in DROPPED else 'output'}")
        return KINDS.get(kind, OutputItem)(self._output)

    def _usage(self, response: Response) -> Usage | None:
        return read_usage(response.usage, self._output.searches) if response.usage else None
