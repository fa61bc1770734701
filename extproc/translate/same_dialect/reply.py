"""An answer that passes in the form it came in, and is read on its way.

Of a stream whole events go out at once, and a part of one waits, so that an error event is always in its place.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from extproc.errors import Reason, Rejection
from extproc.providers.profiles import Profile
from extproc.translate.answer_body import Collected, Reader, Sniffer
from extproc.translate.pair import Outcome, Translated, Usage, estimated_tokens
from extproc.translate.provider_error import failure
from extproc.wire import Dialect, dialects
from extproc.wire.messages import KEEP_ALIVE
from extproc.wire.sse import Frames, fields, is_data, split


class Passed(Translated, frozen=True, kw_only=True, tag="same_dialect"):
    profile: Profile
    choices: int = 1
    """Chat: how many answers were asked for."""
    hide_usage: bool = False
    """Chat: the usage was asked for by us, so its chunk is not for the client."""


class Meter(Protocol):
    outcome: Outcome
    """Grows with what is read; `failure` ends the answer."""
    counted: bool
    """The provider has said what was used in all."""
    begun: bool
    """The first event of an answer is here; until then a failure still decides the status."""

    def matters(self, events: bytes) -> bool:
        """Whether any of these events has to be read; cheap, and rather yes than no."""
        ...

    def event(self, raw: bytes) -> bytes:
        """Reads one event; what the client gets in its place, mostly the event."""
        ...

    def whole(self, body: bytes) -> None:
        """Reads an answer that is no stream."""
        ...

    def ended(self) -> bool:
        """The stream is over: whether its answer is complete."""
        ...

    def failed(self, rejection: Rejection) -> bytes:
        """The event that ends a stream which cannot be completed."""
        ...


def word(value: object) -> str:
    """For the record: a name of the upstream's choosing."""
    return value[:200] if isinstance(value, str) else ""


class Events:
    def __init__(self, meter: Meter, asked: Passed) -> None:
        self._meter = meter
        self._outcome = meter.outcome
        self._asked = asked
        self._pieces = 0
        self._told: Usage | None = None
        """By the provider."""
        self._frames = Frames()
        self._held: list[bytes] = []
        """Comments and the like before the answer's first event; they would settle the status."""
        self._held_size = 0

    def feed(self, data: bytes) -> bytes:
        if self._failed():
            return b""
        out = self._metered(self._pass, self._frames.feed(data))
        if self._frames.waiting + self._held_size > self._asked.profile.max_event_bytes and not self._failed():
            out += self._fail(failure("an event of the upstream's stream is too large", "event_limit"))
        return out

    def close(self) -> bytes:
        if self._failed():
            return b""
        rest = self._frames.rest()
        if self._outcome.complete:
            return rest
        out = self._metered(self._last, rest)
        if self._failed() or self._outcome.complete:
            return out
        self._outcome.complete = self._meter.ended()
        return out if self._outcome.complete else out + self._fail(self._unfinished())

    def _metered(self, read: Callable[[bytes], bytes], events: bytes) -> bytes:
        """The client may leave, or the stream break, before the provider has counted. Until then the record has an
        estimate: a piece of text is at least one token."""
        if self._meter.counted:
            return read(events)
        self._outcome.usage = self._told
        out = read(events)
        self._told = told = self._outcome.usage
        self._pieces += events.count(b"data:")
        if self._guesses():
            guess = told or Usage(input_tokens=estimated_tokens(self._asked.size))
            most = max(guess.output_tokens, self._pieces)
            self._outcome.usage = msgspec.structs.replace(
                guess, output_tokens=most, estimated=True, reported=told is not None
            )
        return out

    def _guesses(self) -> bool:
        wanted = self._asked.profile.missing_usage == "estimate"
        return wanted and self._meter.begun and not self._meter.counted

    def _failed(self) -> bool:
        return self._outcome.failure is not None

    def _pass(self, events: bytes) -> bytes:
        meter = self._meter
        if meter.begun and (self._outcome.complete or not meter.matters(events)):
            return events
        out: list[bytes] = []
        for event in split(events):
            out.append(event if self._outcome.complete else meter.event(event))
            if self._failed():
                break
        return self._release(b"".join(out))

    def _release(self, out: bytes) -> bytes:
        if not self._meter.begun and not self._failed():
            self._held.append(out)
            self._held_size += len(out)
            return b""
        held, self._held, self._held_size = self._held, [], 0
        return b"".join((*held, out)) if held else out

    def _last(self, rest: bytes) -> bytes:
        """An event without its blank line; no client reads it without one. Half an event is none."""
        _, data = fields(rest)
        if not is_data(data):
            return b""
        out = self._release(self._meter.event(rest))
        return out + b"\n\n" if out else b""

    def _fail(self, rejection: Rejection) -> bytes:
        self._outcome.failure = rejection
        return self._meter.failed(rejection)

    def _unfinished(self) -> Rejection:
        if not self._meter.begun:
            return failure("the upstream sent an empty answer", "empty_answer", Reason.TRUNCATED)
        return failure("upstream stream ended before completion", "truncated", Reason.TRUNCATED)


EVENTS, JSON = "text/event-stream; charset=utf-8", "application/json"


class PassedReply:
    def __init__(self, asked: Passed, content_type: str, meter: Meter, dialect: Dialect) -> None:
        self.outcome = meter.outcome
        self._asked = asked
        self._meter = meter
        self._ping = dialects.row(dialect).ping
        self._reader = Sniffer(content_type, self._events, self._whole, b"")

    def feed(self, data: bytes) -> bytes:
        out = self._reader.feed(data)
        self.outcome.begun = self._meter.begun and self.outcome.media == EVENTS
        return out

    def close(self) -> bytes:
        return self._reader.close()

    def ping(self) -> bytes:
        over = self.outcome.complete or self.outcome.failure is not None
        if over or self.outcome.media == JSON or not self._asked.stream:
            return b""
        return self._ping if self._meter.begun else KEEP_ALIVE

    def _events(self) -> Reader[bytes]:
        self.outcome.media = EVENTS
        return Events(self._meter, self._asked)

    def _whole(self) -> Reader[bytes]:
        self.outcome.media = JSON
        return Collected(self._read, self._too_large, b"")

    def _read(self, body: bytes) -> bytes:
        self._meter.whole(body)
        return body if self.outcome.failure is None else b""

    def _too_large(self) -> bytes:
        self.outcome.failure = failure("the upstream's answer is too large", "answer_limit")
        return b""
