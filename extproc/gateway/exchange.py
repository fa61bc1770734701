"""One request's state machine: synchronous and pure. Policy has passed before an event arrives here."""

from enum import Enum, auto

import msgspec

from extproc.config.endpoints import Operation, dialect_of
from extproc.errors import NO_BODY, Kind, Reason, Rejection
from extproc.events import (
    Action,
    AwaitBody,
    Event,
    Forward,
    Pass,
    PassAnswer,
    Record,
    RequestBody,
    RequestHeaders,
    Respond,
    ResponseBody,
    ResponseHeaders,
    Silence,
)
from extproc.gateway import record
from extproc.gateway.answer import Answer, ids, other_names
from extproc.gateway.passed import PassedAnswer, accept_encoding
from extproc.gateway.settings import Settings
from extproc.policy.authentication.credential import REQUEST_HEADERS
from extproc.policy.facts import Facts
from extproc.providers.profiles import Profile
from extproc.providers.providers import Resolved
from extproc.translate import model_lists, models
from extproc.translate.for_messages.reply import said
from extproc.translate.identity.reply import EVENTS
from extproc.translate.job import Counted, Job, Said, pair_of, request_for
from extproc.translate.pair import Target, Translated
from extproc.wire.paths import known_query
from extproc.wire.rejections import rejection_body, rejection_status

# Everything else a client sends stays here; what the provider needs is set anew.
UPSTREAM_HEADERS = frozenset({"traceparent", "tracestate", "x-request-id"})
USER_AGENT = "llm-extproc"
_NO_SEARCH = "emulated:tools"
_SLOW_BODY = Rejection(
    kind=Kind.INVALID_REQUEST,
    message="the request did not arrive in time",
    reason=Reason.INVALID_REQUEST,
    detail="slow_body",
    status=408,
)

_NOTHING_ASKED = Translated(path="", body=b"", stream=False, model="")


class Phase(Enum):
    NEW = auto()
    ADMITTED = auto()
    SENT = auto()
    ANSWERING = auto()
    DONE = auto()
    PASSED = auto()
    """A call that passes through has gone upstream; the headers of its answer are awaited."""
    PASSED_ERROR = auto()
    """The body of its error is awaited, in one piece."""


NEXT: dict[type[Event], frozenset[Phase]] = {
    RequestHeaders: frozenset({Phase.NEW}),
    RequestBody: frozenset({Phase.ADMITTED}),
    # Envoy's own refusals (a body too large, say) come in ADMITTED.
    ResponseHeaders: frozenset({Phase.ADMITTED, Phase.SENT, Phase.PASSED}),
    ResponseBody: frozenset({Phase.ANSWERING, Phase.PASSED_ERROR}),
    Silence: frozenset({Phase.ADMITTED, Phase.ANSWERING}),
}


class OutOfOrder(Exception):
    """An event that cannot follow what came before."""


class Exchange:
    def __init__(self, facts: Facts, settings: Settings) -> None:
        self.facts = facts
        self.phase = Phase.NEW
        self._settings = settings
        self._answer = Answer(facts, settings)
        self._passed: PassedAnswer | None = None
        self._now = 0.0
        self._body_deadline = 0.0

    @property
    def deadline(self) -> float | None:
        """When the exchange wants to know that nothing has come, in Unix seconds; None: it can wait."""
        if self.phase is Phase.ADMITTED and not self.facts.body_arrived:
            return self._body_deadline
        return self._answer.deadline if self.phase is Phase.ANSWERING else None

    def check(self, event: Event) -> None:
        """Raises OutOfOrder if the event cannot come now."""
        if self.phase not in NEXT[type(event)]:
            raise OutOfOrder(f"{type(event).__name__} in {self.phase.name}")

    def handle(self, event: Event, now: float) -> list[Action]:
        """`now`: Unix seconds. Raises OutOfOrder."""
        self.check(event)
        self._now = now
        match event:
            case RequestHeaders():
                return [self._admit(event)]
            case RequestBody():
                return [self._send()]
            case ResponseHeaders() if self._passed is not None:
                return [self._pass_answer(self._passed.on_headers(event))]
            case ResponseBody() if self._passed is not None:
                self.phase = Phase.DONE
                return [self._passed.on_body(event)]
            case ResponseHeaders():
                self.phase = Phase.ANSWERING
                return self._answer.begins(event, now)
            case ResponseBody():
                return self._answer.goes_on(event, now)
            case Silence() if self.phase is Phase.ADMITTED:
                return [self.reject(_SLOW_BODY)]
            case Silence():
                return self._answer.silence(now)

    def reject(self, rejection: Rejection) -> Action:
        """Answer for ourselves; nothing has gone upstream and nothing will."""
        body = rejection_body(self.facts.dialect, rejection, self.facts.request_id)
        headers = {**dict(rejection.headers), "x-translation-error": "1"}
        status = rejection_status(self.facts.dialect, rejection)
        return self._respond(status, headers, body, record.of_rejection(rejection), rejection.detail)

    def fail(self) -> list[Action]:
        """A bug was met on the way: end the exchange in the client's dialect, whatever the phase. Raises OutOfOrder
        when it is over already."""
        rejection = Rejection(
            kind=Kind.API, message="internal translation error", reason=Reason.INTERNAL, detail="internal"
        )
        if self.phase is Phase.DONE or self._answer.over:
            raise OutOfOrder("failed after the end")
        if self.phase is Phase.ANSWERING:
            return self._answer.fail(rejection)
        return [self.reject(rejection)]

    def _admit(self, event: RequestHeaders) -> Action:
        assert self.facts.endpoint is not None
        match self.facts.endpoint.operation:
            case Operation.PROBE:
                return self._ok(b"")
            case Operation.LIST_MODELS:
                facts, merged = self.facts, self._settings.merged_models
                listed = models.listing(facts.models, facts.dialect, facts.path, facts.query, merged)
                return self.reject(listed) if isinstance(listed, Rejection) else self._ok(listed)
            case Operation.GENERATE | Operation.COUNT_TOKENS if event.end:
                return self.reject(NO_BODY)
            case Operation.GENERATE | Operation.COUNT_TOKENS:
                self.phase = Phase.ADMITTED
                self._body_deadline = self._now + self._settings.body_time.seconds(
                    self.facts.headers.get("content-length")
                )
                return AwaitBody(record.of_request(self.facts, self._settings.claims))
            case Operation.PASSTHROUGH:
                return self._list_models() if self._is_foreign_list(event) else self._pass()

    def _pass(self) -> Pass:
        """Path, query and body go on as they are, the credential is the provider's."""
        self.phase = Phase.PASSED
        provider = self.facts.provider
        assert provider is not None
        self._passed = PassedAnswer(self.facts, provider)
        query = f"?{self.facts.query}" if self.facts.query else ""
        headers = {
            ":path": provider.path(self.facts.path) + query,
            "accept-encoding": accept_encoding(self.facts.headers),
            **self._trace(),
            **provider.credential_headers(dialect_of(provider.path(self.facts.path), self.facts.headers)),
        }
        fields = record.of_request(self.facts, self._settings.claims) | record.of_provider(provider)
        remove = other_names(self.facts.headers, REQUEST_HEADERS | headers.keys())
        return Pass(headers, remove, fields | record.verdict(provider))

    def _pass_answer(self, action: PassAnswer) -> PassAnswer:
        self.phase = Phase.PASSED_ERROR if action.read_body else Phase.DONE
        return action

    def _is_foreign_list(self, event: RequestHeaders) -> bool:
        """A list of models that comes in another shape than the caller reads."""
        facts, provider = self.facts, self.facts.provider
        if facts.method != "GET" or not event.end or provider is None or not model_lists.is_list(facts.path):
            return False
        # All that the provider speaks is of the other vendor.
        return {dialect == "messages" for dialect in provider.dialects} == {facts.dialect != "messages"}

    def _list_models(self) -> Pass:
        facts, provider = self.facts, self.facts.provider
        assert provider is not None
        lists = model_lists.ModelLists(facts.dialect, facts.path, facts.query)
        self._answer.expect(lists, _NOTHING_ASKED, provider, self._now)
        self.phase = Phase.SENT
        query = model_lists.query_for(facts.dialect, facts.path)
        version = {} if facts.dialect == "messages" else {"anthropic-version": Profile().anthropic_version}
        headers = {
            ":path": provider.path(facts.path) + (f"?{query}" if query else ""),
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": USER_AGENT,
            **version,
            **provider.credential_headers(provider.dialects[0]),
        }
        fields = record.of_request(facts, self._settings.claims) | record.of_provider(provider)
        remove = other_names(facts.headers, headers.keys() | UPSTREAM_HEADERS)
        return Pass(headers, remove, fields | record.verdict(provider), read_answer=True)

    def _send(self) -> Action:
        resolved = self.facts.resolved
        assert resolved is not None
        job, outcome = job_of(self.facts), self.facts.prepared
        if outcome is None:
            outcome = request_for(job, self.facts.body)
        match outcome:
            case Rejection():
                return self.reject(outcome)
            case Counted():
                return self._count(outcome, job)
            case Said():
                return self._say(outcome, job)
            case _:
                assert isinstance(outcome, Translated)
        pair = pair_of(job)
        assert pair is not None and not isinstance(pair, Rejection)
        self._answer.expect(pair, outcome.without_body(), resolved.provider, self._now)
        # A stream may last for minutes; nothing needs the client's body any more.
        self.facts.body, self.facts.raw_body, self.facts.prepared = {}, b"", None
        self.phase = Phase.SENT
        return self._forward(outcome, resolved)

    def _say(self, found: Said, job: Job) -> Action:
        """What a model shall know comes as an answer."""
        answer = said(found.text, self.facts.model, self.facts.request_id, stream=found.stream)
        headers = {"content-type": EVENTS} if found.stream else {}
        warning = {} if job.target.profile.strictness == "silent" else {"x-translation-warnings": _NO_SEARCH}
        return self._ok(answer, headers | warning, {"warnings": _NO_SEARCH})

    def _forward(self, asked: Translated, resolved: Resolved) -> Forward:
        provider = resolved.provider
        # Our translations know no query.
        query = known_query(self.facts.query) if self.facts.dialect in resolved.dialects else ""
        headers = {
            ":path": provider.path(asked.path, root=asked.root) + query,
            "content-type": "application/json",
            "content-length": str(len(asked.body)),
            "accept": "text/event-stream" if asked.stream else "application/json",
            "accept-encoding": "identity",
            "user-agent": USER_AGENT,
            **asked.headers,
            **self._trace(),
            **provider.credential_headers("messages" if asked.path.startswith("/v1/messages") else "chat"),
        }
        fields = record.of_model(self.facts) | record.of_translation(asked) | record.verdict(provider)
        remove = other_names(self.facts.headers, headers.keys() | UPSTREAM_HEADERS)
        return Forward(headers, remove, asked.body, fields)

    def _trace(self) -> dict[str, str]:
        return self.facts.span.headers if self.facts.span is not None else {}

    def _count(self, found: Counted, job: Job) -> Action:
        silent = job.target.profile.strictness == "silent"
        headers = {} if silent else {"x-translation-warnings": "approx:input_tokens"}
        return self._ok(msgspec.json.encode(found.answer), headers, {"gen_ai.usage.input_tokens": found.tokens})

    def _ok(self, body: bytes, headers: dict[str, str] | None = None, fields: Record | None = None) -> Respond:
        return self._respond(200, headers or {}, body, (fields or {}) | {record.ENDED: True}, "answered")

    def _respond(self, status: int, headers: dict[str, str], body: bytes, fields: Record, details: str) -> Respond:
        self.phase = Phase.DONE
        known = record.of_request(self.facts, self._settings.claims) | record.of_model(self.facts)
        headers = {"content-type": "application/json", **headers, **ids(self.facts.request_id)}
        return Respond(status, headers, body, known | fields | {record.ANSWERED: True}, details)


def job_of(facts: Facts) -> Job:
    """What the provider's request is made from, when the model is known."""
    resolved = facts.resolved
    assert resolved is not None and facts.endpoint is not None
    target = Target(
        profile=resolved.profile,
        model=resolved.upstream,
        nonce=facts.request_id,
        now=facts.started,
        headers=facts.headers.as_dict(),
        raw=facts.raw_body,
    )
    return Job(
        dialect=facts.dialect,
        provider=resolved.dialects,
        model=facts.model,
        settings=resolved.settings(facts.dialect),
        counting=facts.endpoint.operation is Operation.COUNT_TOKENS,
        target=target,
    )
