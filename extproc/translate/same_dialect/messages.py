"""A Messages client of a Messages provider.

Thinking blocks that hold another model's reasoning (signature.py) are left out: Claude would refuse their signatures.
"""

from typing import Any

import msgspec

from extproc.errors import Rejection
from extproc.translate.checked import Warnings
from extproc.translate.dialects.messages.read_blocks import read_billing
from extproc.translate.pair import Json, Outcome, Target, Usage
from extproc.translate.provider_error import failure
from extproc.translate.same_dialect.pair import Edit, SameDialectPair, by_type, clean, is_concealed, limited, passing
from extproc.translate.same_dialect.reply import Passed, word
from extproc.translate.signature import PREFIX, is_ours
from extproc.wire import Dialect, untrusted
from extproc.wire.lenient import MAX_TOKENS, Undecodable, decode
from extproc.wire.messages import error_event
from extproc.wire.rejections import rejection_event
from extproc.wire.sse import fields

COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


class Delta(msgspec.Struct):
    stop_reason: str | None = None


class Message(msgspec.Struct):
    type: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    input_tokens: int | None = None
    """All that a count says."""


class Event(msgspec.Struct):
    type: str | None = None
    message: Message | None = None
    delta: Delta | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


_event = untrusted.decoder(Event)
_message = untrusted.decoder(Message)


class MessagesMeter:
    def __init__(self, asked: Passed) -> None:
        self._profile = asked.profile
        self._counts = asked.counting
        self.outcome = Outcome()
        self.begun = self.counted = False

    # All others speak of single blocks, and make up nearly the whole stream.
    def matters(self, events: bytes) -> bool:
        return b"message_" in events or b"error" in events

    def event(self, raw: bytes) -> bytes:
        name, data = fields(raw)
        if not (self.matters(data) or name == b"error"):
            return raw
        try:
            event = decode(data, _event)
        except Undecodable:
            event = Event()
        match event.type:
            case "error":
                return self._failed(event.error, raw)
            case "message_start":
                self._start(event.message or Message())
            case "message_delta":
                self._delta(event)
            case "message_stop" if self.begun:
                self.outcome.complete = True
            case _ if name == b"error":
                return self._failed(event.error, raw)
        return raw

    def whole(self, body: bytes) -> None:
        try:
            message = decode(body, _message)
        except Undecodable:
            problem = "cannot be read" if body.strip() else "is empty"
            self.outcome.failure = failure(f"the upstream's answer {problem}", "unreadable_answer")
            return
        if message.type == "error" or message.error is not None:
            self.outcome.failure = by_type(message.error, self._profile)
        elif self._counts and (count := _count(message.input_tokens)) is not None:
            self.outcome.usage = Usage(input_tokens=count)
            self.outcome.complete = True
        elif message.type != "message":
            self.outcome.failure = failure("the upstream's answer is no message", "unreadable_answer")
        else:
            self._start(message)
            self._stop(message.stop_reason)
            self.outcome.complete = True

    def ended(self) -> bool:
        """Nothing but message_stop follows a stop reason."""
        return self.begun and bool(self.outcome.finish_reason)

    def failed(self, rejection: Rejection) -> bytes:
        return rejection_event("messages", rejection)

    def _start(self, message: Message) -> None:
        self.begun = True
        self.outcome.model = word(message.model)
        self._use(message.usage)

    def _delta(self, event: Event) -> None:
        self.counted = self.counted or bool(event.usage)
        self._use(event.usage)
        self._stop(event.delta.stop_reason if event.delta else None)

    def _stop(self, reason: str | None) -> None:
        self.outcome.finish_reason = word(reason) or self.outcome.finish_reason

    def _use(self, usage: Json | None) -> None:
        """Later counts replace earlier ones, as they do in Anthropic's SDK; null is none."""
        if not usage:
            return
        counts = self.outcome.usage = self.outcome.usage or Usage()
        for name in COUNTS:
            if (count := _count(usage.get(name))) is not None:
                setattr(counts, name, count)
        details = usage.get("output_tokens_details")
        if isinstance(details, dict) and (count := _count(details.get("thinking_tokens"))) is not None:
            counts.thinking_tokens = count
        for name, value in read_billing(usage).items():
            setattr(counts, name, value)

    def _failed(self, error: Any, raw: bytes) -> bytes:
        failure = self.outcome.failure = by_type(error, self._profile)
        # The provider's words would tell of the gateway's key.
        if is_concealed(failure):
            return self.failed(failure)
        told = error if isinstance(error, dict) else {}
        return passing(raw, error_event(word(told.get("type")) or "api_error", failure.message))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS else None


def envelope(body: Json) -> bytes:
    """An error body of Anthropic's with a clean message; empty when it is none."""
    from_upstream = body.get("error")
    if body.get("type") != "error" or not isinstance(from_upstream, dict):
        return b""
    kind, message = from_upstream.get("type"), from_upstream.get("message")
    if not isinstance(kind, str) or not isinstance(message, str):
        return b""
    error = {"type": word(kind), "message": clean(message)}
    return msgspec.json.encode({"type": "error", "error": error, "request_id": word(body.get("request_id"))})


PATH = "/v1/messages"


class Messages:
    name: Dialect = "messages"
    path = PATH
    request_id = "request-id"
    rate_limits = "anthropic-ratelimit-"

    def change(self, edit: Edit, body: Json, to: Target, warnings: Warnings) -> Passed:
        max_tokens = limited(edit, body, "max_tokens", to.profile.max_output_tokens, warnings)
        _remove_ours(edit, body, warnings)
        return Passed(
            path=PATH,
            body=b"",
            headers=_headers(to),
            stream=body.get("stream") is True,
            model=body.get("model", ""),
            max_tokens=max_tokens,
            profile=to.profile,
        )

    def meter(self, asked: Passed) -> MessagesMeter:
        return MessagesMeter(asked)

    def envelope(self, body: Json) -> bytes:
        return envelope(body)


def _headers(to: Target) -> dict[str, str]:
    """Betas and version belong together: by default both are the client's."""
    sent = to.headers.get("anthropic-version") if to.profile.version_from == "client" else ""
    # Anthropic refuses a request without the header.
    headers = {"anthropic-version": sent or to.profile.anthropic_version}
    if beta := to.headers.get("anthropic-beta"):
        headers["anthropic-beta"] = beta
    return headers


def _remove_ours(edit: Edit, body: Json, warnings: Warnings) -> None:
    left, removed, thoughtless = without_ours(edit.get("messages"))
    for path in removed:
        warnings.reasoning_left_out(path)
    if left is None:
        return
    edit.set("messages", left)
    thinking = body.get("thinking")
    # With a budget Claude insists that an answer with tool calls begins with its thinking.
    if thoughtless and isinstance(thinking, dict) and thinking.get("type") == "enabled":
        warnings.add("dropped", "thinking")
        edit.drop("thinking")


messages_on_messages = SameDialectPair(Messages())


_MARK = PREFIX.encode()
_Many = list[msgspec.Raw]
_Object = dict[str, msgspec.Raw]


class Block(msgspec.Struct):
    type: str
    signature: str | None = None
    data: str | None = None


_many = untrusted.decoder(_Many)
_object = untrusted.decoder(_Object)
_block = untrusted.decoder(Block)
_encode = msgspec.json.Encoder().encode
_THINKING = frozenset({"thinking", "redacted_thinking"})


def without_ours(messages: msgspec.Raw) -> tuple[msgspec.Raw | None, list[str], bool]:
    """The messages that are left, or None where none of ours was found; the paths of what was removed; and whether
    the last answer of the model, one with tool calls, has no thinking. All other bytes stay; the malformed is for the
    provider to refuse."""
    if _MARK not in bytes(messages):
        return None, [], False
    removed: list[str] = []
    try:
        left = [_without(message, f"messages.{n}", removed) for n, message in enumerate(_many.decode(messages))]
        if not removed:
            return None, [], False
        kept = [message for message in left if message is not None]
        return msgspec.Raw(_encode(kept)), removed, _thoughtless(left)
    except msgspec.DecodeError:
        return None, [], False


def _without(message: msgspec.Raw, path: str, removed: list[str]) -> msgspec.Raw | None:
    """None: nothing is left of it."""
    if _MARK not in bytes(message):
        return message
    members = _object.decode(message)
    if bytes(members.get("content", b""))[:1] != b"[":
        return message
    blocks = _many.decode(members["content"])
    ours = [n for n, block in enumerate(blocks) if _is_ours(block)]
    if not ours:
        return message
    removed += [f"{path}.content.{n}" for n in ours]
    left = [block for n, block in enumerate(blocks) if n not in ours]
    members["content"] = msgspec.Raw(_encode(left))
    return msgspec.Raw(_encode(members)) if left else None


def _is_ours(raw: msgspec.Raw) -> bool:
    if _MARK not in bytes(raw):
        return False
    try:
        block = _block.decode(raw)
    except msgspec.ValidationError:
        return False
    return block.type in _THINKING and (is_ours(block.signature) or is_ours(block.data))


def _thoughtless(messages: list[msgspec.Raw | None]) -> bool:
    """Claude writes no thinking in a turn for which `thinking` was removed, so this holds until that turn's calls are
    all answered."""
    for message in reversed(messages):
        if message is None:
            continue
        members = _object.decode(message)
        if bytes(members.get("role", b"")) != b'"assistant"':
            continue
        content = bytes(members.get("content", b""))
        kinds = [_kind(block) for block in _many.decode(content)] if content[:1] == b"[" else []
        return "tool_use" in kinds and kinds[0] not in _THINKING
    return False


def _kind(raw: msgspec.Raw) -> str:
    try:
        return _block.decode(raw).type
    except msgspec.ValidationError:
        return ""
