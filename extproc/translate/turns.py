"""The turns of a conversation, built from messages or items in the client's order.

Every call needs its result before the conversation goes on, and every result a call (docs/mapping.md 4.2). Results are
collected in one user turn, in the order of their calls.
"""

from collections.abc import Sequence

import msgspec

from extproc.translate.checked import refused
from extproc.translate.conversation import (
    AssistantPart,
    AssistantTurn,
    SystemTurn,
    Text,
    ToolCall,
    ToolResult,
    Turn,
    UserPart,
    UserTurn,
)

# What Codex itself writes for a call that the user has interrupted.
ABORTED = "aborted"


class TurnBuilder:
    """Feed it what the client sent, in order. Raises Refused where calls and results do not fit."""

    def __init__(self, *, repair_interrupted: bool) -> None:
        """`repair_interrupted`: a call without a result counts as aborted instead of refusing the request."""
        self._repair = repair_interrupted
        self._turns: list[Turn] = []
        self._results: list[ToolResult] = []
        self._late: list[SystemTurn] = []
        self._open: dict[str, ToolCall] = {}
        """Calls without a result, by the client's id."""
        self._order: dict[str, int] = {}
        self._calls_path = ""

    def instructions(self, parts: Sequence[Text], path: str) -> None:
        if not parts:
            return
        # Vendors refuse a message between calls and their results.
        if self._open:
            self._late.append(SystemTurn(tuple(parts), path, between_calls_and_results=True))
        else:
            self._flush_results()
            self._turns.append(SystemTurn(tuple(parts), path))

    def user(self, parts: Sequence[UserPart], path: str) -> None:
        self.settle()
        if parts:
            self._turns.append(UserTurn((), tuple(parts), path))

    def assistant(self, parts: Sequence[AssistantPart], path: str) -> None:
        """Whatever the model said while a call waited belongs before the results."""
        if not self._open:
            self._flush_results()
        for part in parts:
            if isinstance(part, ToolCall):
                self._open_call(part)
        if parts:
            self._turns.append(AssistantTurn(tuple(parts), path))

    def calls_at(self, path: str) -> None:
        """Path of the list of calls, for a complaint about a missing result."""
        self._calls_path = path

    def is_open(self, call_id: str) -> bool:
        return call_id in self._open

    def result(self, result: ToolResult, id_path: str) -> None:
        """`id_path`: of the id that names the call."""
        call = self._open.pop(result.call_id, None)
        if call is None:
            raise refused(id_path, f"no tool call with the id '{result.call_id[:80]}' precedes this message")
        self._results.append(result if call.kind == result.kind else msgspec.structs.replace(result, kind=call.kind))

    def end(self) -> tuple[Turn, ...]:
        self.settle()
        return tuple(self._turns)

    def settle(self) -> None:
        """The conversation goes on. Raises Refused for calls without a result."""
        if self._open and not self._repair:
            ids = ", ".join(call[:80] for call in self._open)
            raise refused(self._calls_path, f"tool calls must be followed by their results; none answers: {ids}")
        for call in list(self._open.values()):
            self.result(ToolResult(call.id, (Text(ABORTED, call.path),), call.path), call.path)
        self._flush_results()

    def _open_call(self, call: ToolCall) -> None:
        if not call.id or call.id in self._open:
            raise refused(call.path, "tool calls need ids of their own")
        self._open[call.id] = call
        self._order[call.id] = len(self._order)

    def _flush_results(self) -> None:
        if self._results:
            results = sorted(self._results, key=lambda result: self._order[result.call_id])
            self._turns.append(UserTurn(tuple(results), (), ""))
            self._results = []
        self._turns += self._late
        self._late = []
