"""The second half of an exchange: the provider's answer, or Envoy's where there was none.

The reply to the response headers is held back until it is known what they must say: the whole JSON, or the first
event of a stream. So HTML with 200 and a stream that dies at once still become a true error status.
"""

import math
from collections.abc import Set as AbstractSet
from enum import Enum, auto

from extproc.errors import NO_BODY, Kind, Reason, Rejection
from extproc.events import Action, AnswerBody, BeginAnswer, Headers, Record, Respond, ResponseBody, ResponseHeaders
from extproc.gateway import record
from extproc.gateway.settings import Settings
from extproc.policy.facts import Facts
from extproc.providers.providers import Provider
from extproc.translate.pair import Reader, Reply, Translated
from extproc.translate.warnings import header_value
from extproc.wire.rejections import rejection_body, rejection_event, rejection_status

JSON, SSE = "application/json", "text/event-stream; charset=utf-8"
# Envoy's own: framing is its codecs' business, `host` follows from the cluster, and without `x-forwarded-proto`
# it finds no route (the route removes it afterwards).
_ENVOYS = frozenset({"connection", "transfer-encoding", "host", "x-forwarded-proto"})
MAX_ERROR_BYTES = 1024 * 1024
DRAIN_SECONDS = 1.0
RECORD_SECONDS = 1.0
NEVER = math.inf


_SILENT = Rejection(
    kind=Kind.TIMEOUT,
    message="the model fell silent in the midst of its answer",
    reason=Reason.UPSTREAM_TIMEOUT,
    detail="idle_timeout",
)
_TOO_LONG = Rejection(
    kind=Kind.TIMEOUT,
    message="the model did not come to an end in time",
    reason=Reason.UPSTREAM_TIMEOUT,
    detail="total_timeout",
)


class State(Enum):
    HELD = auto()
    REFUSED = auto()
    """An error answer is being collected."""
    FLOWING = auto()
    OVER = auto()


class Answer:
    def __init__(self, facts: Facts, settings: Settings) -> None:
        self._facts = facts
        self._settings = settings
        self._state = State.HELD
        self._pair: Reader | None = None
        self._asked: Translated | None = None
        self._reply: Reply | None = None
        self._upstream = ResponseHeaders(0, Headers(), end=True)
        self._error_body = bytearray()
        self._recorded_at = 0.0
        self._now = 0.0
        self._provider: Provider | None = None
        self._sent_at = 0.0
        self._heard_at = 0.0
        """When the provider last said something; what the client gets meanwhile does not count."""
        self._quiet_since = 0.0
        """When the client last got something, or began to wait for the answer."""
        self._spoken_at = 0.0
        self._complete_at = 0.0
        self._has_body = False
        """Envoy takes nothing for the body before a first piece of the provider's own has come by (1.40)."""

    @property
    def over(self) -> bool:
        return self._state is State.OVER

    def expect(self, pair: Reader, asked: Translated, provider: Provider, now: float) -> None:
        """The request goes to a provider."""
        self._pair = pair
        self._asked = asked
        self._provider = provider
        self._sent_at = now

    @property
    def deadline(self) -> float | None:
        """The client's or the provider's, whichever is sooner. A provider's keep-alives do not move the client's:
        they are nothing to it."""
        limit = self._limit()
        end = min(self._given_up()[0], NEVER if limit is None else self._quiet_since + limit)
        return None if end == NEVER else end

    def _given_up(self) -> tuple[float, Rejection]:
        """When the provider's time is over, and what is said then. NEVER: there is nothing to wait for, or Envoy, which
        knows the same limits, must see to it."""
        timeouts = self._provider.timeouts if self._provider is not None else None
        ended = self._reply is not None and self._reply.outcome.complete
        unheard = self._state is State.FLOWING and not self._has_body
        if timeouts is None or ended or unheard or self._state is State.OVER:
            return NEVER, _SILENT
        silent, too_long = self._heard_at + timeouts.idle, self._sent_at + (timeouts.total or NEVER)
        return (silent, _SILENT) if silent <= too_long else (too_long, _TOO_LONG)

    def _limit(self) -> float | None:
        if self._reply is None or self._asked is None:
            return None
        if self._state is State.FLOWING and self._reply.outcome.complete:
            return DRAIN_SECONDS
        if not self._asked.stream:
            return None
        if self._state is State.HELD:
            # A JSON answer to a stream request may still turn out to be an error: its status stays held.
            streams = "event-stream" in self._upstream.headers.get("content-type")
            return self._settings.first_event_hold if streams else None
        if self._state is State.FLOWING and self._has_body:
            return self._settings.ping_interval
        return None

    def begins(self, event: ResponseHeaders, now: float) -> list[Action]:
        self._upstream = event
        self._now = self._quiet_since = self._heard_at = now
        if self._pair is None or self._asked is None or not 200 <= event.status < 300:
            self._state = State.REFUSED
        else:
            self._reply = self._pair.reply(self._asked, event.headers.get("content-type"))
        return self.goes_on(ResponseBody(b"", end=True), now) if event.end else []

    def goes_on(self, event: ResponseBody, now: float) -> list[Action]:
        self._now = self._heard_at = now
        self._has_body = True
        match self._state:
            case State.OVER:
                return []
            case State.REFUSED:
                return self._collect_error(event, now)
            case State.HELD | State.FLOWING:
                return self._read(event, now)

    def silence(self, now: float) -> list[Action]:
        """The deadline has passed. A provider that is through but does not hang up is left."""
        if self._state is State.OVER:
            return []
        given_up, why = self._given_up()
        if given_up <= now:
            return self._give_up(why, now)
        if self._reply is None:
            return []
        self._now = self._quiet_since = now
        if self._reply.outcome.complete:
            return self._more(b"", True, now)
        begin = [self._begin(self._client_headers())] if self._state is State.HELD else []
        return [*begin, *self._more(self._reply.ping() if self._has_body else b"", False, now)]

    def _give_up(self, rejection: Rejection, now: float) -> list[Action]:
        # What is here of an error says more than that its rest is missing.
        if self._state is State.REFUSED:
            return self._collect_error(ResponseBody(b"", end=True), now)
        return self.fail(rejection)

    def fail(self, rejection: Rejection) -> list[Action]:
        if self._state is not State.FLOWING:
            return self._refuse(rejection, {})
        # A plain answer has no way to say it: cut short, its JSON does not parse.
        streams = self._asked is not None and self._asked.stream
        event = rejection_event(self._facts.dialect, rejection) if streams else b""
        known = record.of_outcome(self._reply.outcome) if self._reply else {}
        self._state = State.OVER
        return [AnswerBody(event, True, known | record.of_rejection(rejection))]

    def _read(self, event: ResponseBody, now: float) -> list[Action]:
        assert self._reply is not None
        out = self._reply.feed(event.body) if event.body else b""
        if event.end:
            out += self._reply.close()
        if self._state is State.FLOWING:
            return self._more(out, event.end, now, self._first(out, now)) or self._stir(now)
        begun = self._reply.outcome.begun and self._asked is not None and self._asked.stream
        if self._reply.outcome.failure is not None and not begun:
            return self._refuse(self._reply.outcome.failure, {})
        assert out or not event.end, "a reply at its end is complete or failed"
        if not out:
            return []
        return [self._begin(self._client_headers()), *self._more(out, event.end, now, self._first(out, now))]

    def _stir(self, now: float) -> list[Action]:
        """What keeps the upstream's connection awake keeps the client's, once a second at most (mapping 3.2)."""
        assert self._reply is not None
        due = self._reply.outcome.stirred and now >= self._quiet_since + 1
        return self._more(self._reply.ping(), False, now) if due else []

    def _first(self, out: bytes, now: float) -> Record:
        if not out or self._spoken_at:
            return {}
        self._spoken_at = now
        return {record.FIRST: round(now - self._facts.started, 4)}

    # Here and below the state changes last: after an exception it still says what the client has got.

    def _more(self, out: bytes, end: bool, now: float, extra: Record | None = None) -> list[Action]:
        assert self._reply is not None
        failed = self._reply.outcome.failure is not None
        over, out = end or failed, self._concealed(out) if failed else out
        actions: list[Action] = []
        if out or over:
            actions.append(AnswerBody(out, over, (extra or {}) | self._progress(over, now)))
        if out:
            self._quiet_since = now
            self._reply.outcome.stirred = False
        self._state = State.OVER if over else State.FLOWING
        return actions

    def _progress(self, over: bool, now: float) -> Record:
        """For the record, at the end and once in a while before it: after an abort nothing can be added."""
        assert self._reply is not None
        outcome = self._reply.outcome
        if not (over or outcome.complete or now - self._recorded_at >= RECORD_SECONDS):
            return {}
        self._recorded_at = now
        fields = record.of_outcome(outcome) | self._pace(now)
        if warnings := self._warnings():
            fields["warnings"] = header_value(warnings)
        return fields

    def _pace(self, now: float) -> Record:
        """Of what comes in one piece nobody knows how long its tokens took."""
        assert self._reply is not None and self._asked is not None
        outcome = self._reply.outcome
        tokens = outcome.usage.output_tokens if outcome.usage is not None and outcome.failure is None else 0
        if not outcome.complete or not self._asked.stream:
            return {}
        self._complete_at = self._complete_at or now
        if tokens < 2 or self._complete_at == self._spoken_at:
            return {}
        return {record.PACE: round((self._complete_at - self._spoken_at) / (tokens - 1), 6)}

    def _client_headers(self) -> dict[str, str]:
        assert self._pair is not None
        return self._pair.headers(self._upstream.headers.as_dict(), self._now)

    def _begin(self, headers: dict[str, str]) -> BeginAnswer:
        assert self._asked is not None
        fields = record.of_upstream_request(headers.get("request-id", ""))
        headers = headers | ids(headers.get("request-id", self._facts.request_id))
        media = self._reply.outcome.media if self._reply else ""
        media = media or (SSE if self._asked.stream else JSON)
        headers |= {"content-type": media} | ({} if media == JSON else {"cache-control": "no-cache"})
        if not self._asked.silent and (warnings := self._warnings()):
            headers["x-translation-warnings"] = header_value(warnings)
        return self._begin_with(200, headers, fields)

    def _collect_error(self, event: ResponseBody, now: float) -> list[Action]:
        room = MAX_ERROR_BYTES - len(self._error_body)
        self._error_body += event.body[:room]
        if not event.end and len(event.body) < room:
            return []
        if self._pair is None or self._asked is None or self._upstream.details not in ("", "via_upstream"):
            return self._refuse(_envoys_own(self._upstream, sent=self._pair is not None), {})
        headers = self._upstream.headers.as_dict()
        refusal = self._pair.error(self._asked, self._upstream.status, headers, bytes(self._error_body), now)
        if refusal.answer:
            answer: list[Action] = [self._begin(refusal.headers)]
            answer.append(AnswerBody(self._concealed(refusal.answer), True, {record.ENDED: True}))
            self._state = State.OVER
            return answer
        return self._refuse(refusal.rejection, refusal.headers, refusal.body)

    def _refuse(self, rejection: Rejection, extra: dict[str, str], said: bytes = b"") -> list[Action]:
        """`said`: the provider's own words in the client's dialect."""
        request_id = extra.get("request-id", self._facts.request_id)
        headers = {**extra, **dict(rejection.headers), "content-type": JSON, **ids(request_id)}
        status = rejection.http_status if said else rejection_status(self._facts.dialect, rejection)
        body = self._concealed(said or self._envelope(rejection, request_id))
        outcome = record.of_outcome(self._reply.outcome) if self._reply else {}
        fields = outcome | record.of_rejection(rejection)
        fields |= record.of_upstream_request(extra.get("request-id", ""))
        actions: list[Action] = [self._begin_with(status, headers, fields), AnswerBody(body, True, {})]
        if self._upstream.end or not self._has_body:
            # An answer without a body gets none by streaming; Envoy replaces it whole.
            actions = [Respond(status, headers, body, fields | {record.ANSWERED: True}, rejection.detail)]
        self._state = State.OVER
        return actions

    def _envelope(self, rejection: Rejection, request_id: str) -> bytes:
        return rejection_body(self._facts.dialect, rejection, request_id)

    def _concealed(self, error: bytes) -> bytes:
        return self._provider.concealed(error) if self._provider is not None else error

    def _begin_with(self, status: int, headers: dict[str, str], fields: Record) -> BeginAnswer:
        return BeginAnswer(status, headers, other_names(self._upstream.headers, headers.keys()), fields)

    def _warnings(self) -> tuple[str, ...]:
        assert self._asked is not None
        found = self._reply.outcome.warnings if self._reply else []
        return tuple(dict.fromkeys((*self._asked.warnings, *found)))


def ids(request_id: str) -> dict[str, str]:
    """Anthropic's and OpenAI's name for the same thing."""
    return {"request-id": request_id, "x-request-id": request_id}


def other_names(headers: Headers, kept: AbstractSet[str]) -> tuple[str, ...]:
    """All that is not kept; `content-length` is among them unless it is set."""
    return tuple(sorted(n for n in headers.names() if n not in kept and n not in _ENVOYS and not n.startswith(":")))


def _envoys_own(upstream: ResponseHeaders, *, sent: bool) -> Rejection:
    status = upstream.status
    if not sent and upstream.details.startswith(_GUARD_DENIED):
        # Envoy 1.40 sends no body message for an HTTP/2 request of headers and trailers, and goes on without a verdict.
        return NO_BODY
    kind, reason, message, wanted = _ENVOY.get(status, _ENVOY_ANY)
    return Rejection(kind=kind, message=message, reason=reason, detail=f"envoy_{status}", status=wanted)


_UNREACHABLE = (Kind.OVERLOADED, Reason.UPSTREAM_UNAVAILABLE, "the model cannot be reached at the moment", 0)
_GUARD_DENIED = "rbac_access_denied"
# Envoy's status -> kind, reason, message, the status sent (0: the kind's).
_ENVOY: dict[int, tuple[Kind, Reason, str, int]] = {
    408: (Kind.INVALID_REQUEST, Reason.INVALID_REQUEST, "the request did not arrive in time", 408),
    413: (Kind.TOO_LARGE, Reason.REQUEST_TOO_LARGE, "the request is too large", 0),
    503: _UNREACHABLE,
    504: (Kind.TIMEOUT, Reason.UPSTREAM_TIMEOUT, "the model did not answer in time", 0),
    529: _UNREACHABLE,
}
_ENVOY_ANY = (Kind.API, Reason.UPSTREAM, "the model's answer could not be read", 502)
