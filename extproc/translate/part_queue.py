"""Puts the parts of an answer in order: providers may send pieces of several in turn, clients need one at a time.

Only the first part is live; those behind it wait until it ends (docs/mapping.md 3.3).
"""

from collections import deque
from typing import Any, Protocol

import msgspec

from extproc.translate.answer_events import (
    AnswerEvent,
    ArgumentsDelta,
    CallEnded,
    CallStarted,
    Citations,
    Compacted,
    Logprobs,
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    TextDelta,
    TextEnded,
    Warned,
)
from extproc.translate.arguments import JsonPrefix, tool_input
from extproc.translate.conversation import CallKind
from extproc.wire.lenient import Undecodable, loads

MAX_WAITING = 8 * 1024 * 1024
"""Characters that wait behind the open part at most."""


class QueueOverflow(Exception):
    """More waits behind the open part than is kept."""


class Part(Protocol):
    ended: bool
    """Its own end has come, or nothing more can: it may give way to the next."""

    def drain(self) -> list[AnswerEvent]:
        """What may go out by now; only the first part is asked."""
        ...

    def close(self, *, at_limit: bool) -> list[AnswerEvent]:
        """Its end. `at_limit`: the answer was cut off by its limit of tokens, or nothing says why it ended."""
        ...

    def is_cut(self, *, at_limit: bool) -> bool:
        """Whether the model has not finished it."""
        ...


class _Whole:
    """A part that is never cut."""

    def is_cut(self, *, at_limit: bool) -> bool:
        return False


class TextPart(_Whole):
    def __init__(self, *, refusal: bool = False) -> None:
        self.ended = False
        self.is_refusal = refusal
        self.event = RefusalDelta if refusal else TextDelta
        self.pending: list[str] = []
        self.logprobs: list[Any] = []
        self._citations: list[dict[str, Any]] = []

    def add(self, text: str) -> None:
        self.pending.append(text)

    def add_logprobs(self, found: list[Any]) -> None:
        self.logprobs += found

    def cite(self, found: list[dict[str, Any]]) -> None:
        self._citations += found

    def drain(self) -> list[AnswerEvent]:
        if not self.pending:
            return []
        text = self.pending[0] if len(self.pending) == 1 else "".join(self.pending)
        self.pending.clear()
        if not self.logprobs:
            return [self.event(text)]
        found, self.logprobs = tuple(self.logprobs), []
        return [self.event(text), Logprobs(found)]

    def close(self, *, at_limit: bool) -> list[AnswerEvent]:
        events: list[AnswerEvent] = [Logprobs(tuple(self.logprobs))] if self.logprobs else []
        if self._citations:
            events.append(Citations(tuple(self._citations)))
        return [*events, TextEnded()]


class ReasoningPart(_Whole):
    """No part at all where neither text nor data comes."""

    def __init__(self, carrier: str, *, is_needed: bool = True) -> None:
        self.ended = False
        self.carrier = carrier
        self._is_needed = is_needed
        self.data: Any = None
        self._spoke = False
        self._pending: list[str] = []

    def add(self, text: str) -> None:
        self._pending.append(text)

    def drain(self) -> list[AnswerEvent]:
        if not self._pending:
            return []
        self._spoke = True
        text = "".join(self._pending)
        self._pending.clear()
        return [ReasoningDelta(text)]

    def close(self, *, at_limit: bool) -> list[AnswerEvent]:
        return [ReasoningEnded(self.carrier, self.data, self._is_needed)] if self._spoke or self.data else []


class CompactionPart(_Whole):
    ended = True

    def __init__(self, event: Compacted) -> None:
        self._event = event

    def drain(self) -> list[AnswerEvent]:
        return []

    def close(self, *, at_limit: bool) -> list[AnswerEvent]:
        return [self._event]


class CallPart:
    """A call in fragments: its id and name may come late, its arguments in any cut."""

    def __init__(self, kind: CallKind = "function") -> None:
        self.ended = False
        self.is_json = kind != "custom"
        """The provider sends arguments as JSON; a custom call's free text is then their one member."""
        self.id = ""
        self.name = ""
        self.kind: CallKind = kind
        self.whole = False
        """The provider has told that the arguments are all there."""
        self.is_unfinished = False
        """The provider has told that they are not."""
        self.cut = False
        self.is_started = False
        self.is_closed = False
        self._arguments: list[str] = []
        self._pending: list[str] = []
        self._prefix: JsonPrefix | None = None

    @property
    def arguments(self) -> str:
        return "".join(self._arguments)

    @property
    def is_complete(self) -> bool:
        """The arguments so far are one whole JSON object."""
        return self._prefix is not None and self._prefix.complete

    def identify(self, id: str | None, name: str | None) -> None:
        """Fragments of a name are joined, repeated ones are not; a name that arguments follow is settled."""
        if id and not self.id and not self.is_started:
            self.id = id
        # OpenAI sends a name once and whole. Some servers send it in pieces, others with each fragment (docs/mapping.md
        # 3.5).
        if name and not (self.name and self._arguments):
            self.name = name if name.startswith(self.name) else self.name + name

    def add(self, text: str) -> int:
        """Returns the size of what was added."""
        if self.is_json:
            # Some models write a line feed before the object.
            if not self._arguments:
                text = text.lstrip()
            if not text or self._is_repetition(text):
                return 0
            if not self._arguments and text[0] == "{":
                self._prefix = JsonPrefix()
            if self._prefix is not None:
                self._prefix.feed(text)
        self._arguments.append(text)
        self._pending.append(text)
        return len(text)

    def may_start(self) -> bool:
        return bool(self.name)

    def drain(self) -> list[AnswerEvent]:
        return [*self._start(), *self._drain_arguments()] if self.may_start() else []

    def close(self, *, at_limit: bool) -> list[AnswerEvent]:
        self.is_closed = True
        if not self.name:
            return [Warned("dropped:tool_calls")]
        events = [*self._start(), *self._drain_arguments()]
        self.cut = self.is_cut(at_limit=at_limit)
        # A custom tool's text came as the one member of an object, in which any piece may end within an escape.
        if self._is_wrapped and not self.cut and (text := free_text(self.arguments)):
            events.append(ArgumentsDelta(text))
        if self.cut:
            events.append(Warned(f"incomplete_tool_call:{self.id}"))
        return [*events, CallEnded(self.cut)]

    @property
    def _is_wrapped(self) -> bool:
        """Free text in JSON, which can be told only when it is whole."""
        return self.is_json and self.kind == "custom"

    def _drain_arguments(self) -> list[AnswerEvent]:
        if not self._pending or self._is_wrapped:
            return []
        text = "".join(self._pending)
        self._pending.clear()
        return [ArgumentsDelta(text)]

    def _start(self) -> list[AnswerEvent]:
        if self.is_started:
            return []
        self.is_started = True
        return [CallStarted(self.id, self.name, self.kind)]

    def _is_repetition(self, text: str) -> bool:
        """Blanks after the end, or the whole arguments once more, as some servers send in the last fragment."""
        return self.is_complete and (text.isspace() or text.strip() == self.arguments.strip())

    def is_cut(self, *, at_limit: bool) -> bool:
        """Whether the arguments end in the midst of their JSON (docs/mapping.md 2.3)."""
        if self.is_unfinished:
            return True
        if not self.is_json:
            # Free text looks whole wherever it ends, so that only the provider's own word counts.
            return at_limit and not self.whole
        if self._prefix is None:
            return tool_input(self.arguments, at_limit).cut
        # JSON that ends too early is a call that was cut. Wrong JSON is the model's own, and for the client to report.
        return not self._prefix.complete and (at_limit or not self._prefix.broken)


class PartQueue:
    """Collects events in `out`. Raises QueueOverflow."""

    def __init__(self) -> None:
        self.out: list[AnswerEvent] = []
        self.has_cut_call = False
        self.calls = 0
        """Calls that have been started."""
        self._parts: deque[Part] = deque()
        self._waiting = 0

    @property
    def last(self) -> Part | None:
        return self._parts[-1] if self._parts else None

    def push(self, part: Part, size: int = 0) -> None:
        self._parts.append(part)
        self.advance(size)

    def advance(self, size: int) -> None:
        """Emits what the first part has, and closes it once it gives way. `size`: characters that came."""
        while self._parts:
            first = self._parts[0]
            self.out += first.drain()
            if len(self._parts) == 1:
                self._waiting = 0
                return
            if not first.ended:
                self._waiting += size
                if self._waiting > MAX_WAITING:
                    raise QueueOverflow
                return
            self._close_first(at_limit=False)

    def add_text(self, part: TextPart, text: str) -> None:
        """Text goes out at once where nothing stands before it, as it nearly always does."""
        if len(self._parts) == 1 and not part.pending and not part.logprobs:
            self.out.append(part.event(text))
            return
        part.add(text)
        self.advance(len(text))

    def text_part(self, *, refusal: bool = False) -> TextPart:
        """Returns the last part if it is such text, else a new one: for a dialect that does not tell them apart."""
        last = self._parts[-1] if self._parts else None
        if isinstance(last, TextPart) and last.is_refusal is refusal:
            return last
        part = TextPart(refusal=refusal)
        part.ended = True  # it may give way as soon as another part begins
        self.push(part)
        return part

    def close(self, *, at_limit: bool = False) -> None:
        """The answer is at its end."""
        while self._parts:
            # Models write one part after the other: a limit cuts the last one.
            self._close_first(at_limit=at_limit and len(self._parts) == 1)

    def is_cut(self) -> bool:
        """Whether the model has not finished a part, should the answer end here without saying why."""
        return any(part.is_cut(at_limit=True) for part in self._parts)

    def close_ended(self) -> None:
        """Closes parts at the front that have ended; the rest may still get more."""
        while self._parts:
            first = self._parts[0]
            self.out += first.drain()
            if not first.ended:
                return
            self._close_first(at_limit=False)

    def take(self) -> list[AnswerEvent]:
        taken, self.out = self.out, []
        return taken

    def _close_first(self, *, at_limit: bool) -> None:
        part = self._parts.popleft()
        self.out += part.drain()
        self.out += part.close(at_limit=at_limit)
        if isinstance(part, CallPart) and part.name:
            self.calls += 1
            self.has_cut_call = self.has_cut_call or part.cut


def arguments_text(value: Any) -> str:
    """Arguments as JSON text; some servers send the object itself."""
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def free_text(arguments: str) -> str:
    """A custom tool's input, from the object in which a provider without such tools wraps it."""
    try:
        value = loads(arguments)
    except Undecodable:
        return arguments
    text = value.get("input") if isinstance(value, dict) else None
    return text if isinstance(text, str) else arguments
