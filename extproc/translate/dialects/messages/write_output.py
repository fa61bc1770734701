"""Where the parts of an answer for a Messages client go: out at once as events, or into one message."""

from typing import Any, Protocol

import msgspec

from extproc.errors import Rejection
from extproc.translate.pair import Json, Usage
from extproc.wire import messages, untrusted

# Block type -> the delta whose empty form shows that the stream is alive.
_DELTAS = {"text": "text_delta", "thinking": "thinking_delta", "tool_use": "input_json_delta"}


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


class Output(Protocol):
    is_live: bool
    """What is written has gone out and cannot be taken back."""

    @property
    def place(self) -> int:
        """The index of the block that opens next."""
        ...

    def start(self, message: Json) -> None: ...
    def open(self, block: Json) -> None: ...
    def delta(self, kind: str, text: str) -> None: ...
    def stop(self) -> None: ...

    def insert(self, place: int, block: Json) -> None:
        """A whole thinking block, at an earlier place if that is still possible."""
        ...

    def end(self, ending: Json, usage: Usage) -> None: ...
    def fail(self, rejection: Rejection) -> None: ...
    def take(self) -> bytes: ...
    def ping(self) -> bytes: ...


class EventOutput:
    """Blocks never overlap: clients take a delta of another block than the open one for a broken stream."""

    is_live = True

    def __init__(self, *, ping_by_delta: bool = False) -> None:
        self._place = 0
        self._out: list[bytes] = []
        self._open = ""
        """The type of the open block."""
        self._kind = ""
        self._prefix = b""
        self._is_started = False
        self._is_over = False
        self._ping_by_delta = ping_by_delta

    @property
    def place(self) -> int:
        return self._place

    def start(self, message: Json) -> None:
        self._is_started = True
        self._out.append(messages.message_start(message))

    def open(self, block: Json) -> None:
        self._open, self._kind = block["type"], ""
        self._out.append(messages.block_start(self._place, block))

    def delta(self, kind: str, text: str) -> None:
        # The bytes before the text are the same for all deltas of a block.
        if kind is not self._kind:
            self._kind, self._prefix = kind, messages.delta_prefix(self._place, kind)
        self._out.append(messages.delta(self._prefix, text))

    def stop(self) -> None:
        self._open = ""
        # Clients leave out a block whose end does not come.
        self._out.append(messages.block_stop(self._place))
        self._place += 1

    def insert(self, place: int, block: Json) -> None:
        self.open({**block, "signature": ""})
        self.delta("signature_delta", block["signature"])
        self.stop()

    def end(self, ending: Json, usage: Usage) -> None:
        self._is_over = True
        # The reason for the end and the counts are in the last event but one:
        # https://platform.claude.com/docs/en/build-with-claude/streaming#event-types.
        self._out.append(messages.message_delta(ending, write_usage(usage)))
        self._out.append(messages.MESSAGE_STOP)

    def fail(self, rejection: Rejection) -> None:
        self._is_over = True
        self._out.append(messages.error_event(rejection.kind, rejection.message))

    def take(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def ping(self) -> bytes:
        if self._is_over:
            return b""
        if not self._is_started:
            return messages.KEEP_ALIVE
        # Claude Code up to 2.1.197 does not count pings as a sign of life, but deltas (docs/mapping.md 3.7).
        if self._ping_by_delta and self._open in _DELTAS:
            return messages.delta(messages.delta_prefix(self._place, _DELTAS[self._open]), "")
        return messages.PING


class MessageOutput:
    """One message, complete or not at all."""

    is_live = False

    def __init__(self) -> None:
        self.message: Json = {}
        self._texts: dict[str, list[str]] = {}
        self.done = b""

    @property
    def place(self) -> int:
        return len(self.message["content"])

    def start(self, message: Json) -> None:
        self.message = message

    def open(self, block: Json) -> None:
        self._texts = {}
        self.message["content"].append(block)

    def delta(self, kind: str, text: str) -> None:
        self._texts.setdefault(messages.DELTA_MEMBER[kind], []).append(text)

    def stop(self) -> None:
        block = self.message["content"][-1]
        for member, texts in self._texts.items():
            whole: Any = "".join(texts)
            if member == "partial_json":
                block["input"] = untrusted.decode(whole)
            else:
                block[member] = whole

    def insert(self, place: int, block: Json) -> None:
        self.message["content"].insert(place, block)

    def end(self, ending: Json, usage: Usage) -> None:
        # The tier stands only in the usage of the beginning.
        started = self.message["usage"]
        self.message |= ending
        self.message["usage"] = {**started, **write_usage(usage)}
        self.done = msgspec.json.encode(self.message)

    def fail(self, rejection: Rejection) -> None:
        """Nothing has gone out, so the status tells it."""

    def take(self) -> bytes:
        done, self.done = self.done, b""
        return done

    def ping(self) -> bytes:
        return b""


class ReplayedOutput(MessageOutput):
    """The events of an answer that came in one piece: it is written as a message first, so that a client which asked
    for a stream gets the same."""

    def end(self, ending: Json, usage: Usage) -> None:
        events = EventOutput()
        events.start({**self.message, "content": []})
        for block in self.message["content"]:
            _replay(events, block)
        events.end(ending, usage)
        self.done = events.take()


def _replay(events: EventOutput, block: Json) -> None:
    match block["type"]:
        case "text":
            events.open({"type": "text", "text": ""})
            events.delta("text_delta", block["text"])
        case "thinking":
            events.open({"type": "thinking", "thinking": "", "signature": ""})
            if block["thinking"]:
                events.delta("thinking_delta", block["thinking"])
            events.delta("signature_delta", block["signature"])
        case "tool_use":
            # A client takes the arguments from the deltas alone, whatever the block begins with.
            events.open({**block, "input": {}})
            if block["input"]:
                events.delta("input_json_delta", msgspec.json.encode(block["input"]).decode())
        case _:
            events.open(block)
    events.stop()


# Token counts (docs/mapping.md 2.2)

# OpenAI's word for how a call was served -> Anthropic's.
_TIERS_OF_OPENAI = {
    "default": "standard",
    "flex": "standard",
    "scale": "standard",
    "priority": "priority",
    "fast": "priority",
}


def write_usage(usage: Usage) -> Json:
    written: Json = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_creation_input_tokens": usage.cache_creation_input_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
    }
    if usage.thinking_tokens is not None:
        written["output_tokens_details"] = {"thinking_tokens": usage.thinking_tokens}
    if usage.web_searches:
        # SDKs' types require both counts.
        written["server_tool_use"] = {"web_search_requests": usage.web_searches, "web_fetch_requests": 0}
    return written


def write_tier(service_tier: str | None) -> Json:
    """As a member of usage; none where Anthropic has no word for it."""
    word = _TIERS_OF_OPENAI.get((service_tier or "").lower())
    return {"service_tier": word} if word else {}
