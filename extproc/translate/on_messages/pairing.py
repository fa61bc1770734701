"""Tool calls of a history, and the results that answer them (mapping 4.2)."""

from typing import Any

from extproc.translate.arguments import tool_input
from extproc.translate.names import client_id
from extproc.translate.on_messages.draft import Draft
from extproc.translate.pair import Json
from extproc.translate.want import refused

_ABORTED = "aborted"


class Pairing:
    """Every call needs a result before the conversation goes on, and every result a call."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._open: dict[str, str] = {}
        """The client's ids of calls without a result -> the ids upstream."""
        self._order: dict[str, int] = {}
        self._used: set[str] = set()
        self._times: dict[str, int] = {}
        """How often an id was called."""
        self._path = ""

    @property
    def is_open(self) -> bool:
        return bool(self._open)

    def waits(self, id: str) -> bool:
        return id in self._open

    def call(self, id: str, name: str, arguments: Any, path: str, whole: str) -> Json:
        """A call as a block. `path`: of its arguments, `whole`: of the list of calls."""
        if not id or id in self._open:
            raise refused(path, "tool calls need ids of their own")
        value, meant, _ = tool_input(arguments)
        if not meant and self._draft.profile.strictness == "strict":
            raise refused(path, "Input should be a JSON object")
        if not meant:
            self._draft.warnings.word(f"invalid_tool_arguments:{id[:80]}")
        self._path = whole
        self._open[id] = upstream_id = self._unique(client_id(id))
        self._order[upstream_id] = len(self._order)
        return {"type": "tool_use", "id": upstream_id, "name": self._draft.tool_name(name), "input": value}

    def result(self, id: str, content: str | list[Json], path: str) -> Json:
        """The result of a call as a block; `path`: of the id."""
        if id not in self._open:
            raise refused(path, f"no tool call with the id '{id[:80]}' precedes this message")
        block: Json = {"type": "tool_result", "tool_use_id": self._open.pop(id)}
        if content:
            block["content"] = content
        return block

    def settle(self) -> list[Json]:
        """Results for the calls that have none (`repair_interrupted`). Raises Refused where they are needed."""
        if self._open and not self._draft.profile.repair_interrupted:
            ids = ", ".join(call[:80] for call in self._open)
            raise refused(self._path, f"tool calls must be followed by their results; none answers: {ids}")
        return [self.result(call, _ABORTED, "") for call in list(self._open)]

    def in_order(self, results: list[Json]) -> list[Json]:
        """As the calls were."""
        return sorted(results, key=lambda block: self._order[block["tool_use_id"]])

    def _unique(self, id: str) -> str:
        """Some servers number the calls of each answer anew; for Anthropic ids are unique in a conversation."""
        unique, n = id, self._times.get(id, 1)
        while unique in self._used:
            n += 1
            unique = f"{id}_{n}"
        self._times[id] = n
        self._used.add(unique)
        return unique
