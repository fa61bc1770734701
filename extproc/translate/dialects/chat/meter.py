"""Reads a Chat Completions answer on its way: model, usage, finish reason, errors, the end."""

import re
from typing import Any

import msgspec

from extproc.errors import Rejection
from extproc.translate.dialects.chat.usage import read_usage
from extproc.translate.failures import failure
from extproc.translate.identity.asked import Passed
from extproc.translate.identity.errors import clean, is_concealed, passing
from extproc.translate.identity.meter import word
from extproc.translate.openai_upstream.errors import reported
from extproc.translate.openai_upstream.told import told_by
from extproc.translate.pair import Outcome
from extproc.wire import untrusted
from extproc.wire.chat import error_body
from extproc.wire.frames import fields
from extproc.wire.lenient import Undecodable, decode
from extproc.wire.rejections import rejection_event

# Most chunks say `"finish_reason":null` and `"usage":null`.
_MATTERS = re.compile(
    rb'"(?:finish_reason"\s*:\s*"|usage"\s*:\s*\{|error)|\[DONE\]|event: *error|^error:', re.MULTILINE
)


class Choice(msgspec.Struct):
    index: int | None = None
    finish_reason: str | None = None
    error: Any = None


class Chunk(msgspec.Struct):
    object: str | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    x_groq: dict[str, Any] | None = None


_decoder = untrusted.decoder(Chunk)


class ChatMeter:
    def __init__(self, asked: Passed) -> None:
        self.outcome = Outcome()
        self.begun = self.counted = False
        self._asked = asked
        self._finished: set[int] = set()

    def matters(self, events: bytes) -> bool:
        return _MATTERS.search(events) is not None

    def event(self, raw: bytes) -> bytes:
        name, data = fields(raw)
        if not data:
            return raw
        if data.startswith(b"[DONE]"):
            self._done()
            return raw
        try:
            chunk = decode(data, _decoder)
        except Undecodable:
            return self._failed(data, raw) if name == b"error" or data[:1] == b"[" else raw
        if name == b"error" or _has_error(chunk):
            return self._failed(data, raw)
        self._read(chunk)
        return b"" if self._asked.hide_usage and chunk.usage and not chunk.choices else raw

    def whole(self, body: bytes) -> None:
        try:
            answer = decode(body, _decoder)
        except Undecodable:
            problem = "cannot be read" if body.strip() else "is empty"
            self.outcome.failure = failure(f"the upstream's answer {problem}", "unreadable_answer")
            return
        if _has_error(answer):
            self.outcome.failure = self._reported(body)
        elif not answer.choices:
            self.outcome.failure = failure("the upstream sent an answer without a choice", "unreadable_answer")
        else:
            self._read(answer)
            self.outcome.complete = True

    def ended(self) -> bool:
        lenient = self._asked.profile.on_truncated == "end_turn"
        return self.begun and (lenient or len(self._finished) >= self._asked.choices)

    def failed(self, rejection: Rejection) -> bytes:
        return rejection_event("chat", rejection)

    def _done(self) -> None:
        self.outcome.complete = self.begun

    def _read(self, chunk: Chunk) -> None:
        self.begun = self.begun or chunk.choices is not None
        self.outcome.model = self.outcome.model or word(chunk.model)
        if usage := chunk.usage or (chunk.x_groq or {}).get("usage"):
            self.outcome.usage = read_usage(usage)
            self.counted = True
        for choice in chunk.choices or ():
            if choice.finish_reason:
                self._finished.add(choice.index or 0)
                if not choice.index:
                    self.outcome.finish_reason = word(choice.finish_reason)

    def _failed(self, data: bytes, raw: bytes) -> bytes:
        self.outcome.failure = self._reported(data)
        if is_concealed(self.outcome.failure):
            return self.failed(self.outcome.failure)
        told = told_by(data)
        rebuilt = error_body(self.outcome.failure.message, told.type or "server_error", None, told.code or None)
        event = b"data: %b\n\n" % rebuilt
        # Clients skip a line `error: {...}`.
        return passing(raw, event) if b"data:" in raw else event

    def _reported(self, data: bytes) -> Rejection:
        found = reported(data, self._asked.profile)
        message = clean(told_by(data).message)
        return msgspec.structs.replace(found, message=message) if message and not is_concealed(found) else found


def _has_error(chunk: Chunk) -> bool:
    return bool(chunk.error) or chunk.object == "error" or any(choice.error for choice in chunk.choices or ())
