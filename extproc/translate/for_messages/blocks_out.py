"""The blocks of an answer in the order they began: the first is written live, those behind it wait.

Blocks never overlap on the wire, because clients take a delta of another block for a broken stream.
"""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from extproc.translate.arguments import compact, tool_input
from extproc.translate.for_messages.call_names import CallNames
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

    def is_cut(self, at_limit: bool) -> bool:
        """Whether the model has not finished it. `at_limit`: the answer ended at its token limit, or without saying
        why."""
        ...

    def close(self, sink: Sink, at_limit: bool) -> None: ...


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

    def is_cut(self, at_limit: bool) -> bool:
        return False

    def close(self, sink: Sink, at_limit: bool) -> None:
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

    def is_cut(self, at_limit: bool) -> bool:
        return False

    def close(self, sink: Sink, at_limit: bool) -> None:
        sink.delta("signature_delta", self.thought.seal())
        sink.stop()


class ToolBlock:
    """A call in fragments: its id and name may come late, its arguments in any cut or as an object.

    A call that was cut is never completed: in a stream its arguments end where the model's ended, in a message it is
    left out (mapping 2.3).
    """

    __slots__ = (
        "_arguments",
        "_names",
        "_opened",
        "_pending",
        "_prefix",
        "_warn",
        "closed",
        "custom",
        "free_text",
        "id",
        "name",
        "unfinished",
    )

    def __init__(self, names: CallNames, warn: Callable[[str], None]) -> None:
        self.id = ""
        self.name = ""
        self.custom = False
        """Its arguments are free text, which becomes a member of an object."""
        self.free_text = False
        """They are free text in such an object already."""
        self.unfinished = False
        """The upstream says that it is incomplete."""
        self.closed = False
        self._names = names
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
        """Whether enough is known: a name may come in pieces, and its end shows by the arguments. A block that began
        without any would be a call with an empty object, should nothing follow."""
        return bool(self.name and self._prefix)

    def write(self, sink: Sink) -> None:
        if not sink.live or not self.opens():
            return
        self._open(sink)
        safe = "".join(self._pending)
        self._pending.clear()
        if safe:
            sink.delta("input_json_delta", safe)

    def yields(self) -> bool:
        return self.complete

    def is_cut(self, at_limit: bool) -> bool:
        if self.unfinished or (at_limit and (self.custom or self.free_text)):
            return True
        if self._prefix is None:
            return not self.custom and tool_input("".join(self._arguments), at_limit).cut
        return not self._prefix.complete and (at_limit or not self._prefix.broken)

    def close(self, sink: Sink, at_limit: bool) -> None:
        self.closed = True
        if not self.name:
            self._warn("dropped:tool_calls")
            return
        self.write(sink)
        cut = self.is_cut(at_limit) or self._is_half_a_string(sink)
        if cut:
            self._warn(f"incomplete_tool_call:{self._names.cut_call(self.id, self._opened)}")
            if self._opened is not None:
                sink.stop()
            return
        self._open(sink)
        rest = self._live_rest(self._prefix) if self._prefix and sink.live else self._whole()
        if rest:
            sink.delta("input_json_delta", rest)
        sink.stop()

    def _is_half_a_string(self, sink: Sink) -> bool:
        """No JSON, and the client has half of a value already."""
        half = sink.live and self._prefix is not None and self._prefix.broken and self._prefix.in_string
        if half:
            self._warn_invalid()
        return half

    def _open(self, sink: Sink) -> None:
        if self._opened is None:
            self._opened = self._names.block(self.id, self.name)
            sink.open(self._opened)

    def _live_rest(self, prefix: JsonPrefix) -> str:
        if prefix.complete:
            return prefix.close()
        self._warn_invalid()
        return prefix.close_with("".join(self._arguments))

    def _whole(self) -> str:
        arguments = "".join(self._arguments)
        if self.custom:
            return compact({"input": arguments})
        value, meant, _ = tool_input(arguments)
        if not meant:
            self._warn_invalid()
        return compact(value) if value else ""

    def _warn_invalid(self) -> None:
        self._warn(f"invalid_tool_arguments:{self._opened['id'] if self._opened else self.id}")


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
