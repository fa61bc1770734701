"""An answer of status 200 that is read: what of it has come, and what the client has got."""

import math
from dataclasses import dataclass

from extproc.errors import Kind, Reason, Rejection
from extproc.events import Action, AnswerBody, Judged, Record, ResponseBody, ResponseHeaders
from extproc.gateway import record
from extproc.gateway.client_answer import Attempt, ClientAnswer, warnings_of
from extproc.gateway.settings import Settings
from extproc.translate.pair import Outcome, Reply
from extproc.translate.want import header_value

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
        self._first_at = 0.0
        self._complete_at = 0.0

    def first(self, now: float) -> Record:
        """Something goes to the client now; empty if it is not the first."""
        if self._first_at:
            return {}
        self._first_at = now
        return {record.FIRST: round(now - self._started, 4)}

    def progress(self, attempt: Attempt, outcome: Outcome, now: float, *, over: bool) -> Record:
        """For the record, at the end and once in a while before it: after an abort nothing can be added."""
        if not (over or outcome.complete or now - self._recorded_at >= RECORD_SECONDS):
            return {}
        self._recorded_at = now
        fields = record.of_outcome(outcome)
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
        return {record.PACE: round((self._complete_at - self._first_at) / (tokens - 1), 6)}


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
            self.outcome.stirred = False
        return actions, over

    def refuse(self, rejection: Rejection) -> list[Action]:
        """Nothing has gone to the client, so the status can say what is wrong."""
        return self.client.refuse(rejection, self.outcome, takes_body=self.takes_body)

    def break_off(self, rejection: Rejection) -> list[Action]:
        """The client has a part of its answer already."""
        return self.client.break_off(rejection, self.attempt, self.outcome)
