"""A Chat Completions client of a Chat Completions provider."""

import re
from typing import Any

import msgspec

from extproc.errors import Rejection
from extproc.translate.checked import Warnings
from extproc.translate.dialects.chat.read_answer import read_usage
from extproc.translate.openai_errors import reported
from extproc.translate.pair import Json, Outcome, Target
from extproc.translate.provider_error import failure, parse_error
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
from extproc.wire import Dialect, untrusted
from extproc.wire.chat import error_body
from extproc.wire.lenient import Undecodable, decode
from extproc.wire.rejections import rejection_event
from extproc.wire.sse import fields

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
    service_tier: Any = None
    error: Any = None
    # Groq counts the tokens of a stream here, unless it was asked for OpenAI's `usage`.
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
        # Some servers leave out `[DONE]`; a finish reason of every choice is as good.
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
            # OpenAI names the tier beside the counts, not among them as Anthropic does.
            self.outcome.usage.service_tier = word(chunk.service_tier)
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
        told = parse_error(data)
        rebuilt = error_body(self.outcome.failure.message, told.type or "server_error", None, told.code or None)
        event = b"data: %b\n\n" % rebuilt
        # Clients skip a line `error: {...}`.
        return passing(raw, event) if b"data:" in raw else event

    def _reported(self, data: bytes) -> Rejection:
        found = reported(data, self._asked.profile)
        message = clean(parse_error(data).message)
        return msgspec.structs.replace(found, message=message) if message and not is_concealed(found) else found


def _has_error(chunk: Chunk) -> bool:
    return bool(chunk.error) or chunk.object == "error" or any(choice.error for choice in chunk.choices or ())


PATH = "/chat/completions"
# https://platform.openai.com/docs/api-reference/chat/create#chat-create-n
MAX_CHOICES = 128


class Chat:
    name: Dialect = "chat"
    path = PATH
    request_id = "x-request-id"
    rate_limits = "x-ratelimit-"

    def change(self, edit: Edit, body: Json, to: Target, warnings: Warnings) -> Passed:
        limits = [
            limited(edit, body, name, to.profile.max_output_tokens, warnings)
            for name in ("max_completion_tokens", "max_tokens")
        ]
        return Passed(
            path=PATH,
            body=b"",
            stream=body.get("stream") is True,
            model=body.get("model", ""),
            max_tokens=next((limit for limit in limits if limit is not None), None),
            profile=to.profile,
            choices=_choices(body),
            hide_usage=_ask_for_usage(edit, body, to),
        )

    def meter(self, asked: Passed) -> ChatMeter:
        return ChatMeter(asked)

    def envelope(self, body: Json) -> bytes:
        return openai_envelope(body)


def _choices(body: Json) -> int:
    n = body.get("n")
    return n if isinstance(n, int) and 1 <= n <= MAX_CHOICES else 1


def _ask_for_usage(edit: Edit, body: Json, to: Target) -> bool:
    """Whether the client will not see it. Without it a stream's tokens are on no record."""
    options = body.get("stream_options") or {}
    wanted = to.profile.meter_usage and to.profile.stream_usage and body.get("stream") is True
    if not wanted or not isinstance(options, dict) or options.get("include_usage"):
        return False
    # The chunk with the usage is then taken out again: a client that has not asked may read `choices[0]` of it.
    edit.set("stream_options", {**options, "include_usage": True})
    return True


chat_on_chat = SameDialectPair(Chat())
