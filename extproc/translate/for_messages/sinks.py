"""Where the parts of an answer go: out at once as events, or into one message."""

from typing import Any, Protocol

import msgspec

from extproc.errors import Rejection
from extproc.translate.for_messages.ending import Ending
from extproc.translate.for_messages.usage import write_usage
from extproc.translate.pair import Json, Usage
from extproc.wire import messages, untrusted

# Block type -> the delta that carries its text, and the empty one that shows life.
DELTA_OF = {"text": "text_delta", "thinking": "thinking_delta", "tool_use": "input_json_delta"}


def blank_message(id: str, model: str, usage: Json) -> Json:
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


class Sink(Protocol):
    live: bool
    """What goes in is out of our hands."""

    def start(self, message: Json) -> None: ...
    def open(self, block: Json) -> None: ...
    def delta(self, kind: str, text: str) -> None: ...
    def stop(self) -> None: ...
    def end(self, ending: Ending, usage: Usage) -> None: ...
    def fail(self, rejection: Rejection) -> None: ...
    def take(self) -> bytes: ...
    def ping(self) -> bytes: ...


class EventSink:
    """Messages events."""

    live = True

    def __init__(self, *, ping_by_delta: bool = False) -> None:
        self._out: list[bytes] = []
        self._index = -1
        self._open = ""
        """Type of the open block."""
        self._kind = ""
        self._prefix = b""
        self._started = False
        self._over = False
        self._ping_by_delta = ping_by_delta

    def start(self, message: Json) -> None:
        self._started = True
        self._out.append(messages.message_start(message))

    def open(self, block: Json) -> None:
        self._index += 1
        self._open, self._kind = block["type"], ""
        self._out.append(messages.block_start(self._index, block))

    def delta(self, kind: str, text: str) -> None:
        if kind is not self._kind:
            self._kind, self._prefix = kind, messages.delta_prefix(self._index, kind)
        self._out.append(messages.delta(self._prefix, text))

    def stop(self) -> None:
        self._open = ""
        self._out.append(messages.block_stop(self._index))

    def end(self, ending: Ending, usage: Usage) -> None:
        self._over = True
        self._out.append(messages.message_delta(ending.members(), write_usage(usage)))
        self._out.append(messages.MESSAGE_STOP)

    def fail(self, rejection: Rejection) -> None:
        self._over = True
        self._out.append(messages.error_event(rejection.kind, rejection.message))

    def take(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def ping(self) -> bytes:
        if self._over:
            return b""
        if not self._started:
            return messages.KEEP_ALIVE
        if self._ping_by_delta and self._open:
            return messages.delta(messages.delta_prefix(self._index, DELTA_OF[self._open]), "")
        return messages.PING


class MessageSink:
    """One message, complete or not at all."""

    live = False

    def __init__(self) -> None:
        self._message: Json = {}
        self._texts: dict[str, list[str]] = {}
        self._done = b""

    def start(self, message: Json) -> None:
        self._message = message

    def open(self, block: Json) -> None:
        self._texts = {}
        self._message["content"].append(block)

    def delta(self, kind: str, text: str) -> None:
        self._texts.setdefault(messages.DELTA_MEMBER[kind], []).append(text)

    def stop(self) -> None:
        block = self._message["content"][-1]
        for member, texts in self._texts.items():
            whole: Any = "".join(texts)
            if member == "partial_json":
                block["input"] = untrusted.decode(whole)
            else:
                block[member] = whole

    def end(self, ending: Ending, usage: Usage) -> None:
        started = self._message["usage"]
        self._message |= ending.members()
        self._message["usage"] = {**started, **write_usage(usage)}
        self._done = msgspec.json.encode(self._message)

    def fail(self, rejection: Rejection) -> None:
        """Nothing has gone out, so the caller's status tells it."""

    def take(self) -> bytes:
        done, self._done = self._done, b""
        return done

    def ping(self) -> bytes:
        return b""
