"""An answer that an attempt has written already: it passes as it is, and admission sees to its end.

Whatever did not come from an attempt is Envoy's own word or a provider's raw answer, and becomes an error.
"""

from extproc.errors import Kind, Reason, Rejection
from extproc.events import Action, AnswerBody, BeginAnswer, Judged, Record, ResponseBody, ResponseHeaders
from extproc.gateway import attempts, record
from extproc.gateway.answer import Answer
from extproc.gateway.attempts import Report
from extproc.gateway.client_answer import ToolVerdicts
from extproc.gateway.settings import Settings
from extproc.policy.facts import Admitted, Planned
from extproc.providers.availability import AttemptOutcome
from extproc.wire.rejections import rejection_event
from extproc.wire.safeguards import PING

_BROKEN = Rejection(
    kind=Kind.API,
    message="the model's answer broke off",
    reason=Reason.TRUNCATED,
    detail="attempt_ended",
)


class RelayedAnswer:
    """As Answer, for a call that was handed over."""

    def __init__(
        self, call: Admitted, settings: Settings, planned: Planned, verdicts: ToolVerdicts | None, report: Report
    ) -> None:
        """`verdicts`: those on the answer's calls of tools; None: the client has not asked for any."""
        self._report = report
        self._call = call
        self._settings = settings
        self._planned = planned
        self._verdicts = verdicts
        self._own: Answer | None = None
        """Where no attempt has answered."""
        self._tried: Record = {}
        self._streams = False
        self._error: tuple[BeginAnswer, bytes] | None = None
        """An error, and what has come of its body. It goes to the client in one piece."""
        self._begun = False
        """The headers have gone to the client."""
        self._at_end = False
        self._ping_at: float | None = None
        self._over = False

    @property
    def over(self) -> bool:
        return self._own.over if self._own is not None else self._over

    @property
    def deadline(self) -> float | None:
        return self._own.deadline if self._own is not None else self._ping_at

    def on_headers(self, event: ResponseHeaders, now: float) -> list[Action]:
        """`now`: Unix seconds, here and below."""
        candidates = self._planned.candidates
        tries, failed = attempts.tried(event, [one.provider.name for one in candidates], now)
        # Envoy's details of a breaker: `upstream_reset_before_response_started{overflow}`
        # (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/response_code_details).
        # A full breaker is our own.
        for name in failed if "overflow" not in event.details else ():
            self._report(AttemptOutcome(name, "failed"))
        tried = event.attempts | attempts.fields(tries)
        if not event.attempts.get(attempts.COMMITTED):
            self._own = Answer(self._call, self._settings, None)
            self._tried = attempts.fields(tries)
            if tries:
                last = candidates[len(tries) - 1]
                self._tried |= record.of_provider(last.provider) | record.of_upstream(last.upstream)
            return self._with_attempts(self._own.on_headers(event, now))
        self._streams = "event-stream" in event.headers.get("content-type")
        self._over = event.end
        begin = BeginAnswer(event.status, {"content-type": event.headers.get("content-type")}, (), tried)
        if event.status >= 400 and not event.end:
            self._error = begin, b""
            return []
        self._begun = True
        return [begin]

    def on_body(self, event: ResponseBody, now: float) -> list[Action]:
        if self._own is not None:
            return self._with_attempts(self._own.on_body(event, now))
        if self._error is not None:
            begin, body = self._error
            self._error = begin, body + event.body
            self._over = event.end
            return [begin, AnswerBody(body + event.body, True, dict(event.attempts))] if event.end else []
        # A connection that the provider resets looks like an end here. It was one only if the attempt has put on record
        # that its answer is complete.
        if event.end and not event.attempts.get(record.ENDED):
            return self.fail(_BROKEN)
        self._over = event.end
        if self._verdicts is None:
            return [AnswerBody(event.body, event.end, dict(event.attempts))]
        out = self._verdicts.feed(event.body, end=event.end)
        if self._verdicts.open:
            self._over, self._at_end = False, event.end
            self._ping_at = now + self._settings.ping_interval if self._streams else None
            return [AnswerBody(out, False, {})] if out else []
        return [AnswerBody(out, event.end, event.attempts | self._verdicts.record)]

    def on_deadline(self, now: float) -> list[Action]:
        if self._own is not None:
            return self._with_attempts(self._own.on_deadline(now))
        self._ping_at = now + self._settings.ping_interval
        return [AnswerBody(PING, False, {})]

    def on_verdicts(self, event: Judged, now: float) -> list[Action]:
        assert self._verdicts is not None
        self._ping_at = None
        self._over = self._at_end
        return [AnswerBody(self._verdicts.settle(event.verdicts), self._at_end, self._verdicts.record)]

    def fail(self, rejection: Rejection) -> list[Action]:
        if self._own is None and not self._begun:
            self._own = Answer(self._call, self._settings, None)
        if self._own is not None:
            return self._own.fail(rejection)
        self._over = True
        event = rejection_event(self._call.dialect, rejection) if self._streams else b""
        return [AnswerBody(event, True, record.of_rejection(rejection))]

    def _with_attempts(self, actions: list[Action]) -> list[Action]:
        """The first of them puts on record what was tried."""
        if actions:
            actions[0].record.update(self._tried)
            self._tried = {}
        return actions
