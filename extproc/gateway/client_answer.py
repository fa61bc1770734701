"""The client's side of an answer: what of it has come, and status, headers and errors in the client's dialect."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from extproc.errors import NO_BODY, Kind, Reason, Rejection
from extproc.events import (
    Action,
    AnswerBody,
    BeginAnswer,
    Headers,
    Judged,
    Record,
    Respond,
    ResponseBody,
    ResponseHeaders,
    Verdict,
)
from extproc.gateway import record
from extproc.gateway.settings import Settings
from extproc.providers.prices import Price
from extproc.providers.providers import Provider
from extproc.translate.checked import header_value
from extproc.translate.pair import Outcome, Reader, Refusal, Reply, Translated
from extproc.wire import Dialect
from extproc.wire.rejections import rejection_body, rejection_event, rejection_status
from extproc.wire.safeguards import ToolCall

JSON, SSE = "application/json", "text/event-stream; charset=utf-8"
PROVIDER_HEADER = "x-gateway-provider"
_NOTHING = ResponseHeaders(0, Headers(), end=True)


class ToolVerdicts(Protocol):
    """Verdicts on the calls of tools in one answer (gateway/verdicts.py)."""

    @property
    def record(self) -> Record: ...
    @property
    def open(self) -> Collection[ToolCall]:
        """Calls that wait for the judge; the answer's end is held back meanwhile."""

    def feed(self, data: bytes, *, end: bool) -> bytes: ...
    def settle(self, judged: Mapping[str, Verdict]) -> bytes: ...
    def give_up(self) -> bytes: ...


class Attempt(msgspec.Struct, frozen=True):
    """A request that has gone to a provider, and who reads what it answers."""

    reader: Reader
    request: Translated
    """Without its body."""
    provider: Provider
    sent_at: float
    """Unix seconds."""
    verdicts: ToolVerdicts | None = None
    """Those on the answer's calls of tools; None: the client has not asked for any."""
    price: Price | None = None
    """What the model costs; None: what is asked for costs nothing."""

    def record(self, outcome: Outcome) -> Record:
        """Returns what is known of the answer so far, and what it costs."""
        fields = record.of_outcome(outcome)
        if outcome.usage is not None and self.price is not None:
            fields |= record.of_cost(self.price.cost(outcome.usage, outcome.model, self.sent_at))
        return fields


class ClientAnswer:
    """Makes the actions by which one client gets its answer."""

    def __init__(
        self, dialect: Dialect, request_id: str, attempt: Attempt | None, own: Mapping[str, str] | None = None
    ) -> None:
        """`attempt`: None where nothing has gone to a provider. `own`: headers that every answer has."""
        self._own = dict(own or {})
        self._dialect = dialect
        self._request_id = request_id
        self._attempt = attempt
        self._upstream = _NOTHING

    def replaces(self, upstream: ResponseHeaders) -> None:
        """These headers came, and do not go on as they are."""
        self._upstream = upstream

    def begin(self, attempt: Attempt, headers: dict[str, str], outcome: Outcome | None = None) -> BeginAnswer:
        """The status is 200. `headers`: those of the provider's that the client gets."""
        request = attempt.request
        fields = record.of_upstream_request(headers.get("request-id", ""))
        headers = headers | ids(headers.get("request-id", self._request_id)) | self._own
        media = (outcome.media if outcome else "") or (SSE if request.stream else JSON)
        # Caches and proxies must not hold back or change a stream
        # (https://html.spec.whatwg.org/multipage/server-sent-events.html#authoring-notes).
        headers |= {"content-type": media} | ({} if media == JSON else {"cache-control": "no-cache"})
        if not request.silent and (warnings := warnings_of(request, outcome)):
            headers["x-translation-warnings"] = header_value(warnings)
        return self._begin_with(200, headers, fields)

    def refuse(
        self, rejection: Rejection, outcome: Outcome | None = None, *, takes_body: bool, theirs: Refusal | None = None
    ) -> list[Action]:
        """The answer becomes an error. `outcome`: what is known of the answer; `takes_body`: Envoy takes a body by
        streaming; `theirs`: the provider's own headers and words, in the client's dialect."""
        extra = theirs.headers if theirs is not None else {}
        words = theirs.body if theirs is not None else b""
        request_id = extra.get("request-id", self._request_id)
        headers = {**extra, **dict(rejection.headers), "content-type": JSON, **ids(request_id), **self._own}
        status = rejection.http_status if words else rejection_status(self._dialect, rejection)
        body = self.concealed(words or rejection_body(self._dialect, rejection, request_id))
        known = self._attempt.record(outcome) if outcome and self._attempt else {}
        fields = known | record.of_rejection(rejection)
        fields |= record.of_upstream_request(extra.get("request-id", ""))
        if takes_body and not self._upstream.end:
            return [self._begin_with(status, headers, fields), AnswerBody(body, True, {})]
        # An answer without a body gets none by streaming; Envoy replaces it whole.
        return [Respond(status, headers, body, fields | {record.ANSWERED: True}, rejection.detail)]

    def break_off(self, rejection: Rejection, attempt: Attempt, outcome: Outcome) -> list[Action]:
        """The client has a part of its answer already. A plain one has no way to say what is wrong: cut short, its JSON
        does not parse."""
        event = rejection_event(self._dialect, rejection) if attempt.request.stream else b""
        return [AnswerBody(event, True, attempt.record(outcome) | record.of_rejection(rejection))]

    def concealed(self, error: bytes) -> bytes:
        """Without the provider's key and address."""
        return self._attempt.provider.concealed(error) if self._attempt is not None else error

    def _begin_with(self, status: int, headers: dict[str, str], fields: Record) -> BeginAnswer:
        # The provider's `content-length` must go: an override of the mode leaves it there (Envoy 1.40), but not the
        # body that it counts.
        return BeginAnswer(status, headers, self._upstream.headers.to_remove(headers.keys()), fields)


def rejected(dialect: Dialect, request_id: str, rejection: Rejection) -> tuple[int, dict[str, str], bytes, Record, str]:
    """Returns the parts of a refusal by the gateway itself: status, headers, body, record, and a detail for Envoy's
    log."""
    headers = {**dict(rejection.headers), "x-translation-error": "1"}
    body = rejection_body(dialect, rejection, request_id)
    return rejection_status(dialect, rejection), headers, body, record.of_rejection(rejection), rejection.detail


def warnings_of(request: Translated, outcome: Outcome | None) -> tuple[str, ...]:
    """Those of the request and of its answer so far, each once."""
    return tuple(dict.fromkeys((*request.warnings, *(outcome.warnings if outcome else ()))))


def ids(request_id: str) -> dict[str, str]:
    """Anthropic's and OpenAI's name for the same thing."""
    return {"request-id": request_id, "x-request-id": request_id}


def envoys_own(upstream: ResponseHeaders, *, sent: bool) -> Rejection:
    """Returns the rejection that an answer of Envoy's own stands for. `sent`: the request has gone to a provider."""
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


def provider_deadline(attempt: Attempt, last_byte_at: float) -> tuple[float, Rejection]:
    """When the provider's time is over, and what is said then."""
    timeouts = attempt.provider.timeouts
    silent, too_long = last_byte_at + timeouts.idle, attempt.sent_at + (timeouts.total or NEVER)
    return (silent, _SILENT) if silent <= too_long else (too_long, _TOO_LONG)


class Timing:
    """When an answer began and ended for the client, and what goes on record of it meanwhile."""

    def __init__(self, started: float) -> None:
        """`started`: when the call came."""
        self._started = started
        self._recorded_at = 0.0
        self._estimated = False
        self._first_at = 0.0
        self._complete_at = 0.0

    def first(self, now: float) -> Record:
        """Something goes to the client now; empty if it is not the first."""
        if self._first_at:
            return {}
        self._first_at = now
        return {record.TIME_TO_FIRST_TOKEN: round(now - self._started, 4)}

    def progress(self, attempt: Attempt, outcome: Outcome, now: float, *, over: bool) -> Record:
        """For the record, at the end and once in a while before it: after an abort nothing can be added."""
        if not (over or outcome.complete or now - self._recorded_at >= RECORD_SECONDS):
            return {}
        self._recorded_at = now
        fields = attempt.record(outcome)
        if self._estimated and record.ESTIMATED not in fields:
            fields[record.ESTIMATED] = False  # what is on record already stays unless it is replaced
        self._estimated = record.ESTIMATED in fields
        if attempt.request.stream:
            fields |= self._per_token(outcome, now)
        if warnings := warnings_of(attempt.request, outcome):
            fields["warnings"] = header_value(warnings)
        return fields

    def _per_token(self, outcome: Outcome, now: float) -> Record:
        """Returns the time for each token of a stream. A non-streamed answer has no per-token timing."""
        tokens = outcome.usage.output_tokens if outcome.usage is not None and outcome.failure is None else 0
        if not outcome.complete:
            return {}
        self._complete_at = self._complete_at or now
        if tokens < 2 or self._complete_at == self._first_at:
            return {}
        return {record.TIME_PER_OUTPUT_TOKEN: round((self._complete_at - self._first_at) / (tokens - 1), 6)}


@dataclass(slots=True)
class Reading:
    """Times are Unix seconds."""

    client: ClientAnswer
    settings: Settings
    attempt: Attempt
    reply: Reply
    upstream: ResponseHeaders
    timing: Timing
    last_byte_at: float
    """When the provider last sent something; what the client gets meanwhile does not count."""
    quiet_since: float
    """When the client last got something, or began to wait for the answer."""
    takes_body: bool = False
    """Envoy takes nothing for the body before a first piece of the provider's own has come by (1.40)."""

    @property
    def outcome(self) -> Outcome:
        return self.reply.outcome

    @property
    def streams(self) -> bool:
        return self.attempt.request.stream

    def feed(self, event: ResponseBody, now: float) -> bytes:
        """Returns what the client gets of it, in its own form."""
        self.last_byte_at = now
        self.takes_body = True
        out = self.reply.feed(event.body) if event.body else b""
        out = out + self.reply.close() if event.end else out
        verdicts = self.attempt.verdicts
        if verdicts is None:
            return out
        out = verdicts.feed(out, end=event.end)
        return out + verdicts.give_up() if self.outcome.failure is not None else out

    @property
    def awaits_verdicts(self) -> bool:
        """The answer's end is held back until a judge has been asked."""
        return self.attempt.verdicts is not None and bool(self.attempt.verdicts.open)

    def settle(self, judged: Judged) -> bytes:
        """Returns the answer's end with its verdicts."""
        assert self.attempt.verdicts is not None
        return self.attempt.verdicts.settle(judged.verdicts)

    def give_up_verdicts(self) -> None:
        if self.attempt.verdicts is not None:
            self.attempt.verdicts.give_up()

    def provider_deadline(self) -> tuple[float, Rejection]:
        """When the provider's time is over, and what is said then; NEVER for an answer that is complete."""
        return (NEVER, _SILENT) if self.outcome.complete else provider_deadline(self.attempt, self.last_byte_at)

    def begin(self, now: float) -> Action:
        """The headers go, and the status is 200."""
        headers = self.attempt.reader.headers(self.upstream.headers.as_dict(), now)
        return self.client.begin(self.attempt, headers, self.outcome)

    def write(
        self, out: bytes, now: float, *, end: bool = False, extra: Record | None = None
    ) -> tuple[list[Action], bool]:
        """The next piece goes to the client. The answer is over, as the second value says, at its end or with a
        failure."""
        failed = self.outcome.failure is not None
        over, out = end or failed, self.client.concealed(out) if failed else out
        actions: list[Action] = []
        if out or over:
            fields = (extra or {}) | self.timing.progress(self.attempt, self.outcome, now, over=over)
            if self.attempt.verdicts is not None:
                fields |= self.attempt.verdicts.record
                if self.awaits_verdicts:
                    fields.pop(record.ENDED, None)
            actions.append(AnswerBody(out, over, fields))
        if out:
            self.quiet_since = now
            self.outcome.keepalive_seen = False
        return actions, over

    def refuse(self, rejection: Rejection) -> list[Action]:
        """Nothing has gone to the client, so the status can say what is wrong."""
        return self.client.refuse(rejection, self.outcome, takes_body=self.takes_body)

    def break_off(self, rejection: Rejection) -> list[Action]:
        """The client has a part of its answer already."""
        return self.client.break_off(rejection, self.attempt, self.outcome)
