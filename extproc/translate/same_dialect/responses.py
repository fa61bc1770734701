"""A Responses client of a Responses provider.

Reasoning items that hold another model's reasoning (signature.py) are left out: OpenAI would refuse what it has not
encrypted itself.
"""

import re
from typing import Any

import msgspec

from extproc.errors import Rejection
from extproc.translate.checked import Warnings
from extproc.translate.dialects.responses.read_answer import read_usage
from extproc.translate.openai_errors import reported
from extproc.translate.pair import Json, Outcome, Target, Usage
from extproc.translate.provider_error import failure
from extproc.translate.same_dialect.pair import (
    Edit,
    SameDialectPair,
    clean,
    is_concealed,
    limited,
    openai_envelope,
    passing,
)
from extproc.translate.same_dialect.reply import Passed, word
from extproc.translate.signature import PREFIX, is_ours
from extproc.wire import Dialect, untrusted
from extproc.wire.lenient import Undecodable, decode
from extproc.wire.responses import failed
from extproc.wire.sse import fields

# All but these speak of items.
_MATTERS = re.compile(rb'"response\.(?:created|completed|incomplete|failed)"|event: *error|"type" *: *"error"')
_SEQUENCE = re.compile(rb'"sequence_number" *: *(\d{1,15})')
_STATUSES = ("completed", "incomplete", "failed", "cancelled", "queued", "in_progress")


class Response(msgspec.Struct):
    id: str | None = None
    object: str | None = None
    created_at: Any = None
    """Unix seconds."""
    model: str | None = None
    status: str | None = None
    usage: dict[str, Any] | None = None
    service_tier: Any = None
    incomplete_details: dict[str, Any] | None = None
    error: Any = None
    input_tokens: int | None = None
    """All that a count says."""


class Event(msgspec.Struct):
    type: str | None = None
    response: Response | None = None
    error: Any = None
    code: str | None = None
    message: str | None = None


_event = untrusted.decoder(Event)
_response = untrusted.decoder(Response)


class ResponsesMeter:
    def __init__(self, asked: Passed) -> None:
        self.outcome = Outcome()
        self.begun = self.counted = False
        self._asked = asked
        self._head: Json = {}
        self._seen = b""
        """The events that came last."""

    def matters(self, events: bytes) -> bool:
        self._seen = events or self._seen
        return _MATTERS.search(events) is not None

    def event(self, raw: bytes) -> bytes:
        self._seen = raw
        name, data = fields(raw)
        if not data or (self.begun and not self.matters(raw)):
            return raw
        try:
            event = decode(data, _event)
        except Undecodable:
            event = Event()
        kind = event.type or name.decode("utf-8", "replace")
        response = event.response or Response()
        match kind:
            case "response.created":
                self._begin(response)
            # The last event has the whole response once more, with its usage.
            case "response.completed" | "response.incomplete" if self.begun:
                self._read(response)
                self.outcome.complete = True
            case "response.failed":
                return self._failed({"error": response.error}, raw)
            case "error":
                # The members of this event are flat:
                # https://platform.openai.com/docs/api-reference/responses-streaming.
                told = event.error or {"message": event.message or "", "code": event.code}
                return self._failed({"error": told}, raw)
            case _:
                pass
        return raw

    def whole(self, body: bytes) -> None:
        try:
            response = decode(body, _response)
        except Undecodable:
            problem = "cannot be read" if body.strip() else "is empty"
            self.outcome.failure = failure(f"the upstream's answer {problem}", "unreadable_answer")
            return
        # The answer to a count: https://platform.openai.com/docs/api-reference/responses/input-tokens.
        if response.object == "response.input_tokens" and response.input_tokens is not None:
            self.outcome.usage = Usage(input_tokens=response.input_tokens)
            self.outcome.complete = True
        # With `background: true` OpenAI answers at once with `queued`, and the client asks for the rest by the
        # response's id.
        elif response.status in _STATUSES:
            self._begin(response)
            self._read(response)
            self.outcome.complete = True
        elif response.error:
            self.outcome.failure = self._reported({"error": response.error})
        else:
            self.outcome.failure = failure("the upstream's answer is no response", "unreadable_answer")

    def ended(self) -> bool:
        # No event but the last says how the answer ended, unlike a `finish_reason` of Chat.
        return self.begun and self._asked.profile.on_truncated == "end_turn"

    def failed(self, rejection: Rejection) -> bytes:
        # Numbers go on where the provider's have ended, since clients may check that none is missing.
        found = _SEQUENCE.findall(self._seen)
        return self._end(rejection, int(found[-1]) + 1 if found else 0)

    def _end(self, rejection: Rejection, sequence: int) -> bytes:
        return failed(rejection, sequence, self._head)

    def _begin(self, response: Response) -> None:
        self.begun = True
        self.outcome.model = word(response.model)
        known = {"id": response.id, "created_at": _seconds(response.created_at), "model": response.model}
        self._head = {name: value for name, value in known.items() if value is not None}

    def _read(self, response: Response) -> None:
        self.outcome.model = word(response.model) or self.outcome.model
        reason = (response.incomplete_details or {}).get("reason")
        self.outcome.finish_reason = word(reason) or word(response.status)
        if response.usage:
            self.outcome.usage = read_usage(response.usage, 0)
            self.outcome.usage.service_tier = word(response.service_tier)
            self.counted = True

    def _failed(self, told: Json, raw: bytes) -> bytes:
        rejection = self.outcome.failure = self._reported(told)
        own = _SEQUENCE.search(raw)
        rebuilt = self._end(rejection, int(own[1]) if own else 0)
        return rebuilt if is_concealed(rejection) else passing(raw, rebuilt)

    def _reported(self, told: Json) -> Rejection:
        found = reported(told, self._asked.profile)
        error = told["error"]
        message = error.get("message") if isinstance(error, dict) else None
        if not isinstance(message, str) or not message or is_concealed(found):
            return found
        return msgspec.structs.replace(found, message=clean(message))


def _seconds(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


PATH = "/responses"


class Responses:
    name: Dialect = "responses"
    path = PATH
    request_id = "x-request-id"
    rate_limits = "x-ratelimit-"

    def change(self, edit: Edit, body: Json, to: Target, warnings: Warnings) -> Passed:
        left, removed = without_ours(edit.get("input"))
        for path in removed:
            warnings.reasoning_left_out(path)
        if left is not None:
            edit.set("input", left)
        return Passed(
            path=PATH,
            body=b"",
            stream=body.get("stream") is True,
            model=body.get("model", ""),
            max_tokens=limited(edit, body, "max_output_tokens", to.profile.max_output_tokens, warnings),
            profile=to.profile,
        )

    def meter(self, asked: Passed) -> ResponsesMeter:
        return ResponsesMeter(asked)

    def envelope(self, body: Json) -> bytes:
        return openai_envelope(body)


class Item(msgspec.Struct):
    type: str | None = None
    encrypted_content: str | None = None


_MARK = PREFIX.encode()
_many = untrusted.decoder(list[msgspec.Raw])
_item = untrusted.decoder(Item)
_encode = msgspec.json.Encoder().encode


def without_ours(given: msgspec.Raw) -> tuple[msgspec.Raw | None, list[str]]:
    """The items that are left, or None where none of ours was found; and the paths of what was removed. All other
    bytes stay; the malformed is for the provider to refuse."""
    if _MARK not in bytes(given):
        return None, []
    try:
        items = _many.decode(given)
    except msgspec.DecodeError:
        return None, []
    ours = [n for n, item in enumerate(items) if _is_ours(item)]
    if not ours:
        return None, []
    left = [item for n, item in enumerate(items) if n not in ours]
    return msgspec.Raw(_encode(left)), [f"input.{n}" for n in ours]


def _is_ours(raw: msgspec.Raw) -> bool:
    if _MARK not in bytes(raw):
        return False
    try:
        item = _item.decode(raw)
    except msgspec.DecodeError:
        return False
    return item.type == "reasoning" and is_ours(item.encrypted_content)


responses_on_responses = SameDialectPair(Responses())
