"""One attempt of a call that was handed over: it is translated for one provider, and its answer is judged before the
client gets a byte of it. An answer that the client shall not get is marked, and Envoy begins the next attempt.
"""

from dataclasses import dataclass

from extproc.config.schema_models import Failover, Trigger
from extproc.errors import Kind, Reason, Rejection
from extproc.events import (
    Action,
    AnswerBody,
    AttemptHeaders,
    AwaitBody,
    BeginAnswer,
    DeadlineReached,
    Event,
    Forward,
    Headers,
    Record,
    Respond,
    ResponseBody,
    ResponseHeaders,
)
from extproc.gateway import attempts, forwarding, preparation, record
from extproc.gateway.answer import Answer
from extproc.gateway.attempts import Report, Try, Word
from extproc.gateway.client_answer import Attempt, ClientAnswer, ids, rejected
from extproc.gateway.handover import HANDOVER, MOVE_ON, NUMBER, Handover
from extproc.gateway.settings import Settings
from extproc.policy.facts import ANONYMOUS, Accepted, Caller, LightBody, Located, PreparedBody, Request
from extproc.providers.availability import AttemptOutcome
from extproc.providers.catalogue import Resolved
from extproc.translate.job import Job
from extproc.translate.pair import Counted, OwnAnswer, Translated
from extproc.translate.provider_error import is_overflow, parse_error
from extproc.wire import dialects

_TOO_LATE = Rejection(
    kind=Kind.TIMEOUT,
    message="no provider of the model answered in time",
    reason=Reason.UPSTREAM_TIMEOUT,
    detail="failover_total",
)
_BUG = Rejection(kind=Kind.API, message="internal translation error", reason=Reason.INTERNAL, detail="internal")
_DECLINED = frozenset({"refusal", "content_filter"})
_MAX_ERROR = 64 * 1024
_LONGEST_MARK = 64
"""Bytes that are enough for each of `dialects`' patterns of a refusal."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an attempt stands."""

    handover: Handover
    number: int
    """From 1."""
    candidate: Resolved
    order: tuple[str, ...]
    """Names of the call's providers."""
    failover: Failover
    mirrors: bool = False
    """It is a copy, whose answer nobody gets."""

    @property
    def is_last(self) -> bool:
        return self.number >= len(self.order)


class AttemptExchange:
    """As Exchange, for one attempt: synchronous and pure."""

    verdicts = None
    caller: Caller = ANONYMOUS

    def __init__(self, now: float, settings: Settings, report: Report) -> None:
        """`now`: Unix seconds; `settings`: those of an attempt that is not the last."""
        self.call: Located = Located(request=Request(started=now))
        self._settings = settings
        self._report = report
        self._place: Place | None = None
        self._names: frozenset[str] = frozenset()
        self._tries: list[Try] = []
        self._sent: Attempt | None = None
        self._answer: Answer | None = None
        self._upstream = ResponseHeaders(0, Headers(), end=False)
        self._error = b""
        """The beginning of a provider's error."""
        self._declined = False
        """The model declines in its own words."""
        self._newest = b""
        """The end of what the provider has said so far."""
        self._held: list[Action] | None = []
        """What the client gets once it is certain that this attempt stands; None: it does."""
        self._moved = False
        self._takes_body = False
        """Envoy takes nothing for the body before a first piece of the provider's own has come by (1.40)."""

    @property
    def deadline(self) -> float | None:
        """When it wants to know that nothing has come, in Unix seconds; None: it can wait."""
        return None if self._answer is None or self._moved else self._answer.deadline

    def begin(self, place: Place, event: AttemptHeaders, now: float) -> list[Action]:
        """The attempt begins: its body may come."""
        self._place = place
        self.call = place.handover.call
        self._names = event.names
        self._tries, failed = attempts.filled(attempts.read(event.before), place.order, place.number, now)
        for name in failed if not place.mirrors else ():
            self._report(AttemptOutcome(name, "failed"))
        self._tries.append(Try(place.candidate.provider.name, started=now))
        own = record.of_copy(self.admitted, place.handover.asked) if place.mirrors else {}
        return [AwaitBody(own | attempts.fields(self._tries))]

    def send(self, body: LightBody | PreparedBody, now: float) -> list[Action]:
        """The attempt goes to its provider, or is answered here."""
        place, call = self.placed, self.admitted
        if now >= place.handover.started + place.failover.total:
            return [self.reject(_TOO_LATE)]
        job, outcome = preparation.translated(call, place.handover.asked, place.candidate, body)
        match outcome:
            case Rejection():
                return [self.reject(outcome)]
            case Translated():
                return [self._forward(job, outcome, now)]
            case Counted() | OwnAnswer():
                answer, headers, fields = preparation.own(outcome, job)
                return [self._respond(200, headers, answer, fields | {record.ENDED: True}, "answered")]

    def handle(self, event: Event, now: float) -> list[Action]:
        """Returns what to do about an event of the answer. `now`: Unix seconds."""
        match event:
            case ResponseHeaders():
                return self._on_headers(event, now)
            case ResponseBody() if self._moved:
                # Only where Envoy does not begin another attempt; admission then finds words of its own.
                return [AnswerBody(b"", event.end, {})]
            case ResponseBody() if self._answer is not None:
                self._takes_body = True
                if self._upstream.status >= 300 and len(self._error) < _MAX_ERROR:
                    self._error += event.body
                self._look_for_refusal(event.body)
                return self._judged(self._answer.on_body(event, now), now)
            case DeadlineReached() if self._answer is not None:
                return self._judged(self._answer.on_deadline(now), now)
            case _:
                return []

    def reject(self, rejection: Rejection) -> Respond:
        """Nothing has gone to the provider, and no other attempt follows."""
        return self._respond(*rejected(self.call.dialect, self.call.request.request_id, rejection))

    def fail(self) -> list[Action]:
        """A bug was met on the way."""
        if self._answer is None or self._moved:
            return [self.reject(_BUG)]
        failed = self._answer.fail(_BUG)
        if self._held is not None:
            # The client has got nothing yet, whatever the answer takes for sent.
            client = ClientAnswer(self.call.dialect, self.call.request.request_id, self._sent)
            client.replaces(self._upstream)
            self._held = None
            failed = client.refuse(_BUG, takes_body=self._takes_body)
        return self._passed_on(failed, self._tries[-1].started)

    @property
    def placed(self) -> Place:
        """Raises AssertionError before `begin`."""
        assert self._place is not None, "an attempt has a place"
        return self._place

    @property
    def admitted(self) -> Accepted:
        """Raises AssertionError before `begin`."""
        assert isinstance(self.call, Accepted), "an attempt belongs to an admitted call"
        return self.call

    def _forward(self, job: Job, request: Translated, now: float) -> Action:
        place, provider = self.placed, self.placed.candidate.provider
        self._sent = forwarding.attempt(job, request, place.candidate, now, self._settings.prices)
        headers = forwarding.headers(self.admitted, request, provider, place.handover.trace, now)
        if headers is None:
            refused = self.reject(forwarding.NO_CREDENTIAL)
            refused.record.update(record.of_provider(provider) | record.of_upstream(place.candidate.upstream))
            return refused
        # The one route to all candidates cannot rewrite it, and Envoy would forward the client's.
        headers["host"] = provider.authority
        cluster = provider.mirror_cluster if place.mirrors else provider.attempt_cluster
        kept = headers.keys() | forwarding.UPSTREAM_HEADERS | {NUMBER, HANDOVER}  # Envoy removes these two
        remove = Headers((name, "") for name in self._names).to_remove(kept)
        # Each attempt sets all of these, so that nothing of an earlier one stays.
        fields: Record = {attempts.VERDICT: f"{cluster}#{place.number}", record.READ: request.stream}
        fields |= record.of_provider(provider) | record.of_upstream(place.candidate.upstream)
        return Forward(headers, remove, request.body, fields)

    def _on_headers(self, event: ResponseHeaders, now: float) -> list[Action]:
        self._upstream = event
        if self._moves_on(str(event.status), *(["5xx"] if event.status >= 500 else [])):
            return self._move_on("", now)
        self._answer = Answer(self.call, self._settings, self._sent)
        if self.placed.is_last:
            self._held = None
        return self._judged(self._answer.on_headers(event, now), now)

    def _moves_on(self, *triggers: str) -> bool:
        return not self.placed.is_last and any(trigger in self.placed.failover.on for trigger in triggers)

    def _judged(self, actions: list[Action], now: float) -> list[Action]:
        """Holds back what the client would get until it is certain that this attempt stands."""
        if self._held is None:
            return self._passed_on(actions, now)
        self._held += actions
        failed = next((action.record for action in self._held if "reason" in action.record), None)
        trigger = self._trigger(failed)
        if trigger is not None and self._moves_on(trigger):
            return self._move_on(trigger, now)
        if failed is None and not self._has_content(actions):
            return []
        held, self._held = self._held, None
        return self._passed_on(held, now)

    def _trigger(self, failed: Record | None) -> Trigger | None:
        """Why the client might not want this answer, apart from its status. `failed`: the record of its failure."""
        assert self._answer is not None
        if self._upstream.status >= 300:
            error = parse_error(self._error)
            if failed is None or "content_filter" in error.words:
                return None if failed is None else "refusal"
            return "context_overflow" if is_overflow(error, self._upstream.status) else None
        if failed is not None:
            return "timeout" if failed["reason"] == Reason.UPSTREAM_TIMEOUT else "false_success"
        outcome = self._answer.outcome
        declined = self._declined or (outcome is not None and outcome.finish_reason in _DECLINED)
        return "refusal" if declined else None

    def _look_for_refusal(self, piece: bytes) -> None:
        if self._held is None or self._sent is None or not self._moves_on("refusal"):
            return
        pattern = dialects.row(self._sent.request.dialect).declines
        seen = self._newest + piece
        self._declined = self._declined or (pattern is not None and pattern.search(seen) is not None)
        self._newest = seen[-_LONGEST_MARK:]

    def _has_content(self, actions: list[Action]) -> bool:
        """Something of the model's own words is here, or the answer is over."""
        assert self._answer is not None
        content = dialects.row(self.call.dialect).content
        pieces = (action.body for action in actions if isinstance(action, AnswerBody))
        return self._answer.over or any(content.search(piece) for piece in pieces)

    def _move_on(self, why: str, now: float) -> list[Action]:
        self._moved, self._held = True, None
        self._judge("failed", why, now)
        self._count(self._tries[-1])
        # Should Envoy make no further attempt after all, a 200 would reach the client.
        status = self._upstream.status if self._upstream.status >= 400 else 502
        remove = self._upstream.headers.to_remove({MOVE_ON})
        begin = BeginAnswer(status, {MOVE_ON: "yes"}, remove, attempts.fields(self._tries))
        return [begin, AnswerBody(b"", True, {})] if self._takes_body else [begin]

    def _passed_on(self, actions: list[Action], now: float) -> list[Action]:
        """The client gets them, and the record says who answered."""
        for action in actions:
            if isinstance(action, BeginAnswer | Respond) and not self._tries[-1].word:
                self._judge("failed" if "reason" in action.record else "ok", str(action.record.get("error", "")), now)
                action.record.update(self._committed())
            if record.ENDED in action.record and self._tries[-1].word == "ok":
                self._tell("failed" if "reason" in action.record else "ok")
        return actions

    def _committed(self) -> Record:
        """What is on record from here on: the client gets the answer of this attempt."""
        translated = record.of_translation(self._sent.request) if self._sent is not None else {}
        return translated | {attempts.COMMITTED: True} | attempts.fields(self._tries)

    def _judge(self, word: Word, why: str, now: float) -> None:
        mine = self._tries[-1]
        mine.status, mine.seconds, mine.why = self._upstream.status, round(max(0.0, now - mine.started), 2), why[:64]
        mine.word = word
        if word == "failed" and why != _BUG.detail:
            self._tell(word)

    def _count(self, mine: Try) -> None:
        """What was used up by an attempt that is given up, as far as the provider has told."""
        outcome = self._answer.outcome if self._answer is not None else None
        if outcome is None or outcome.usage is None or not outcome.usage.reported or self._sent is None:
            return
        usage = outcome.usage
        cached = usage.cache_read_input_tokens + usage.cache_creation_input_tokens
        mine.input_tokens, mine.output_tokens = usage.input_tokens + cached, usage.output_tokens
        if self._sent.price is not None:
            mine.cost = self._sent.price.cost(usage, outcome.model, self._sent.sent_at) or 0.0

    def _tell(self, word: Word) -> None:
        """Whether the provider is to be spared. An answer of another 4xx says nothing about it, and what becomes of
        copies is nothing to real calls."""
        if self.placed.mirrors:
            return
        status, name = self._upstream.status, self.placed.candidate.provider.name
        after = self._upstream.headers.get("retry-after")
        # It may be a date, too (RFC 9110, section 10.2.3); that one is not obeyed.
        seconds = float(after) if after.isdecimal() and int(after) else None
        if status in (429, 529) or (status >= 500 and seconds is not None):
            self._report(AttemptOutcome(name, "limited", seconds))
        elif status >= 500 or (status < 300 and word == "failed"):
            self._report(AttemptOutcome(name, "failed"))
        elif status < 300:
            self._report(AttemptOutcome(name, "answered"))

    def _respond(self, status: int, headers: dict[str, str], body: bytes, fields: Record, details: str) -> Respond:
        headers = {"content-type": "application/json", **headers, **ids(self.call.request.request_id)}
        fields = fields | {record.ANSWERED: True, attempts.COMMITTED: True}
        return Respond(status, headers, body, fields, details)
