"""The blocks of an answer in the order they began: the first is written live, those behind it wait.

Blocks never overlap on the wire, because clients take a delta of another block for a broken stream.
"""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from extproc.translate.arguments import compact, tool_input
from extproc.translate.for_messages.sinks import Sink
from extproc.translate.json_prefix import JsonPrefix
from extproc.translate.pair import Json


class Block(Protocol):
    def write(self, sink: Sink) -> None:
        """Everything that may go out by now; only the first block is asked."""
        ...

    def yields(self) -> bool:
        """Whether it may close because another block waits."""
        ...

    def close(self, sink: Sink, cut: bool) -> None: ...


class TextBlock:
    __slots__ = ("_opened", "_pending")

    def __init__(self) -> None:
        self._opened = False
        self._pending: list[str] = []

    def add(self, text: str) -> None:
        self._pending.append(text)

    def write(self, sink: Sink) -> None:
        if not self._opened:
            self._opened = True
            sink.open({"type": "text", "text": ""})
        if self._pending:
            sink.delta("text_delta", "".join(self._pending))
            self._pending.clear()

    def yields(self) -> bool:
        return True

    def close(self, sink: Sink, cut: bool) -> None:
        sink.stop()


class Thought(Protocol):
    def keep(self, text: str) -> None:
        """Text that is hidden from the client, so it travels in the envelope."""
        ...

    def seal(self) -> str:
        """The envelope: the block's signature."""
        ...


T = TypeVar("T", bound=Thought)


class ThinkingBlock(Generic[T]):
    def __init__(self, thought: T, *, shown: bool) -> None:
        self.thought = thought
        self._shown = shown
        self._opened = False
        self._pending: list[str] = []

    def add(self, text: str) -> None:
        if self._shown:
            self._pending.append(text)
        else:
            self.thought.keep(text)

    def write(self, sink: Sink) -> None:
        if not self._opened:
            self._opened = True
            sink.open({"type": "thinking", "thinking": "", "signature": ""})
        if self._pending:
            sink.delta("thinking_delta", "".join(self._pending))
            self._pending.clear()

    def yields(self) -> bool:
        return True

    def close(self, sink: Sink, cut: bool) -> None:
        sink.delta("signature_delta", self.thought.seal())
        sink.stop()


class ToolBlock:
    """A call in fragments: its id and name may come late, its arguments in any cut or as an object."""

    __slots__ = (
        "_arguments",
        "_name_block",
        "_opened",
        "_pending",
        "_prefix",
        "_warn",
        "closed",
        "custom",
        "id",
        "name",
    )

    def __init__(self, name_block: Callable[[str, str], Json], warn: Callable[[str], None]) -> None:
        self.id = ""
        self.name = ""
        self.custom = False
        self.closed = False
        self._name_block = name_block
        self._warn = warn
        self._arguments: list[str] = []
        self._prefix: JsonPrefix | None = None
        """Set when the arguments look like an object, which may be passed on as it comes."""
        self._pending: list[str] = []
        self._opened: Json | None = None

    @property
    def complete(self) -> bool:
        return self._prefix is not None and self._prefix.complete

    def call_it(self, id: str | None, name: str | None) -> None:
        """Fragments of a name join, repeated ones do not; a name that arguments follow is settled."""
        if id and not self.id and self._opened is None:
            self.id = id
        if name and not (self.name and self._arguments):
            self.name = name if name.startswith(self.name) else self.name + name

    def add(self, arguments: Any) -> int:
        """Returns the size of what was added."""
        text = arguments if isinstance(arguments, str) else "" if arguments is None else _json(arguments)
        if not self._arguments and not self.custom:
            text = text.lstrip()
        if not text or self._is_repeated(text):
            return 0
        if self.closed:
            self._warn_invalid()
            return 0
        self._arguments.append(text)
        if len(self._arguments) == 1 and text[0] == "{" and not self.custom:
            self._prefix = JsonPrefix()
        if self._prefix is not None:
            self._pending.append(self._prefix.feed(text))
        return len(text)

    def _is_repeated(self, text: str) -> bool:
        """Blanks after the end, or the whole arguments once more, as some servers do in the last fragment."""
        return self.complete and (text.isspace() or text.strip() == "".join(self._arguments).strip())

    def opens(self) -> bool:
        """Whether enough is known: a name may come in pieces, and its end shows by the arguments."""
        return bool(self.name and self._arguments)

    def write(self, sink: Sink) -> None:
        if not self.opens():
            return
        self._open(sink)
        if not sink.live:
            return
        safe = "".join(self._pending)
        self._pending.clear()
        if safe:
            sink.delta("input_json_delta", safe)

    def yields(self) -> bool:
        return self.complete

    def close(self, sink: Sink, cut: bool) -> None:
        self.closed = True
        if not self.name:
            self._warn("dropped:tool_calls")
            return
        self._open(sink)
        self.write(sink)
        rest = self._live_rest(self._prefix, cut) if self._prefix and sink.live else self._whole(cut)
        if rest:
            sink.delta("input_json_delta", rest)
        sink.stop()

    def _open(self, sink: Sink) -> None:
        if self._opened is None:
            self._opened = self._name_block(self.id, self.name)
            sink.open(self._opened)

    def _live_rest(self, prefix: JsonPrefix, cut: bool) -> str:
        if prefix.complete or (cut and not prefix.broken):
            return prefix.close()
        self._warn_invalid()
        return prefix.close_with("".join(self._arguments))

    def _whole(self, cut: bool) -> str:
        arguments = "".join(self._arguments)
        if self.custom:
            return compact({"input": arguments})
        value, meant = tool_input(arguments, cut)
        if not meant:
            self._warn_invalid()
        return compact(value) if value else ""

    def _warn_invalid(self) -> None:
        self._warn(f"invalid_tool_arguments:{self._opened['id'] if self._opened else self.id}")


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
