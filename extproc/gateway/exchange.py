"""One request's state machine: synchronous and pure. Policy has passed before an event arrives here."""

from enum import Enum, auto
from typing import TypeVar

import msgspec

from extproc.config.endpoints import Operation, dialect_of
from extproc.errors import NO_BODY, Kind, Reason, Rejection
from extproc.events import (
    Action,
    AttemptHeaders,
    AwaitBody,
    DeadlineReached,
    Event,
    Forward,
    HandOver,
    Judged,
    Pass,
    PassAnswer,
    Record,
    RequestBody,
    RequestHeaders,
    Respond,
    ResponseBody,
    ResponseHeaders,
)
from extproc.gateway import forwarding, preparation, record
from extproc.gateway.answer import Answer
from extproc.gateway.attempts import Report
from extproc.gateway.client_answer import Attempt, ids, rejected
from extproc.gateway.cloud_answer import CloudAnswer, cloud_list
from extproc.gateway.forwarding import UPSTREAM_HEADERS, USER_AGENT
from extproc.gateway.handover import MIRROR, MIRRORED, POOL, encoded, handover, retries
from extproc.gateway.passed import PassedAnswer, accept_encoding
from extproc.gateway.relayed import RelayedAnswer
from extproc.gateway.settings import Settings
from extproc.gateway.verdicts import Verdicts
from extproc.policy.authentication.credential import REQUEST_HEADERS
from extproc.policy.authorization.variables import Subject
from extproc.policy.auto_mode import AutoMode
from extproc.policy.budgets.budgets import Reservation
from extproc.policy.facts import (
    ANONYMOUS,
    Accepted,
    Admitted,
    Answered,
    BodyRead,
    Caller,
    Examined,
    Identified,
    LightBody,
    Listing,
    Located,
    ModelFound,
    Planned,
    Request,
    ToProvider,
)
from extproc.translate import model_lists
from extproc.translate.job import Job
from extproc.translate.pair import Counted, OwnAnswer, Translated
from extproc.wire import cloud_apis, dialects
from extproc.wire.cloud_api import CloudCall
from extproc.wire.safeguards import WARNING, read_question

_SLOW_BODY = Rejection(
    kind=Kind.INVALID_REQUEST,
    message="the request did not arrive in time",
    reason=Reason.INVALID_REQUEST,
    detail="slow_body",
    status=408,
)

_NOTHING_ASKED = Translated(path="", body=b"", stream=False, model="")


S = TypeVar("S", bound=Located)


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
    DeadlineReached: frozenset({Phase.ADMITTED, Phase.ANSWERING}),
    Judged: frozenset({Phase.ANSWERING}),
}


class OutOfOrder(Exception):
    """An event that cannot follow what came before."""


class Exchange:
    def __init__(
        self,
        request: Request,
        settings: Settings,
        auto_mode: AutoMode | None = None,
        report: Report = lambda _outcome: None,
    ) -> None:
        """`request`: what is known before its headers are here, which is when it began. `auto_mode`: what judges the
        calls of tools for a client that asks for it; None: nothing does. `report`: is told of attempts that failed."""
        self._report = report
        self.call: Located = Located(request=request)
        """The stage that it has reached at the headers."""
        self.phase = Phase.NEW
        self._body: BodyRead | ModelFound | Examined | None = None
        """The stage that it has reached at the body; gone when the request is, for an answer may take minutes."""
        self._body_deadline: float | None = None
        self._settings = settings
        self._auto_mode = auto_mode
        self.verdicts: Verdicts | None = None
        """Those on the answer's calls of tools; None: the client has not asked for any."""
        self._attempt: Attempt | None = None
        self.answer = Answer(self.call, settings, None)
        self._relayed: RelayedAnswer | None = None
        """Instead of `answer`, where each attempt writes its own."""
        self._passed: PassedAnswer | None = None
        self.reservation: Reservation | None = None
        """What is reserved of budgets."""
        self._cloud_answer: CloudAnswer | None = None

    @property
    def caller(self) -> Caller:
        return self.call.caller if isinstance(self.call, Identified) else ANONYMOUS

    @property
    def deadline(self) -> float | None:
        """When the exchange wants to know that nothing has come, in Unix seconds; None: it can wait."""
        if self.phase is Phase.ADMITTED:
            return self._body_deadline
        return self._answering.deadline if self.phase is Phase.ANSWERING else None

    @property
    def _answering(self) -> Answer | RelayedAnswer:
        return self._relayed or self.answer

    def check(self, event: Event) -> None:
        """Raises OutOfOrder if the event cannot come now."""
        if self.phase not in NEXT[type(event)]:
            raise OutOfOrder(f"{type(event).__name__} in {self.phase.name}")

    def reach(self, call: S) -> S:
        """Notes the stage that the call has reached at its headers, and returns it."""
        self.call = call
        return call

    def body_arrived(self) -> Admitted:
        """Stops the clock of the body, and returns the call. Raises OutOfOrder."""
        if not isinstance(self.call, Admitted):
            raise OutOfOrder(f"a body in {self.phase.name}")
        self._body_deadline = None
        return self.call

    def reach_body(self, body: BodyRead | ModelFound | Examined) -> None:
        """Notes the stage that the call has reached at its body."""
        self._body = body

    def accept(self, call: Accepted, now: float, *, end: bool) -> Action:
        """Returns what to do about a call that policy has let pass at its headers. `end`: no body follows; `now`: Unix
        seconds."""
        match call:
            case Admitted():
                return self.reject(NO_BODY) if end else self._await_body(call, now)
            case ToProvider():
                return self._list_models(call, now) if _is_foreign_list(call, end=end) else self._pass(call, now)
            case Listing():
                request, merged = call.request, self._settings.merged_models
                if (cloud := call.endpoint.cloud) is not None:
                    listed = cloud_list(call, cloud, merged=merged)
                else:
                    listed = model_lists.listing(call.models, call.dialect, request.path, request.query, merged)
                return self.reject(listed) if isinstance(listed, Rejection) else self._ok(listed)
            case Answered():
                return self._ok(call.answer)
            case _:
                return self._ok(b"")

    def send(self, asked: Examined | Planned, now: float, configuration: int = 0) -> Action:
        """Returns what to do about a call that policy has let pass at its body. `now`: Unix seconds; `configuration`:
        the number of the one that it was admitted with."""
        if isinstance(asked, Planned):
            counted = preparation.counted_here(asked)
            return self._hand_over(asked, configuration) if counted is None else self._ok(*counted)
        job, outcome = preparation.translated(asked.call, asked.model, asked.resolved, asked.body)
        match outcome:
            case Rejection():
                return self.reject(asked.moved[0].refusal if asked.moved else outcome)
            case Counted() | OwnAnswer():
                return self._ok(*preparation.own(outcome, job))
            case Translated():
                return self._forward(asked, job, outcome, now)

    def handle(self, event: Event, now: float) -> list[Action]:
        """Returns what to do about an event that policy has no say in. `now`: Unix seconds. Raises OutOfOrder."""
        self.check(event)
        match event:
            case ResponseHeaders() if self._passed is not None:
                return [self._pass_answer(self._passed.on_headers(event))]
            case ResponseBody() if self._passed is not None:
                self.phase = Phase.DONE
                return [self._passed.on_body(event)]
            case ResponseHeaders():
                self.phase = Phase.ANSWERING
                self.answer = Answer(self.call, self._settings, self._attempt)
                return self._in_form(self._answering.on_headers(event, now))
            case ResponseBody():
                return self._in_form(self._answering.on_body(event, now))
            case DeadlineReached() if self.phase is Phase.ADMITTED:
                return [self.reject(_SLOW_BODY)]
            case DeadlineReached():
                return self._in_form(self._answering.on_deadline(now))
            case Judged():
                return self._in_form(self._answering.on_verdicts(event, now))
            case RequestHeaders() | RequestBody() | AttemptHeaders():
                raise OutOfOrder(f"{type(event).__name__} without policy")

    def reject(self, rejection: Rejection) -> Action:
        """Answer for ourselves; nothing has gone upstream and nothing will."""
        return self._respond(*rejected(self.call.dialect, self.call.request.request_id, rejection))

    def fail(self) -> list[Action]:
        """A bug was met on the way: end the exchange in the client's dialect, whatever the phase. Raises OutOfOrder
        when it is over already."""
        rejection = Rejection(
            kind=Kind.API, message="internal translation error", reason=Reason.INTERNAL, detail="internal"
        )
        if self.phase is Phase.DONE or self._answering.over:
            raise OutOfOrder("failed after the end")
        if self.phase is Phase.ANSWERING:
            return self._in_form(self._answering.fail(rejection))
        return [self.reject(rejection)]

    def _in_form(self, actions: list[Action]) -> list[Action]:
        """Returns an answer's actions in the form of the cloud whose API the client speaks, if it speaks one's."""
        if self._cloud_answer is None:
            cloud = _cloud_of(self.call)
            if cloud is None:
                return actions
            self._cloud_answer = CloudAnswer(cloud, self.call.request.request_id)
        return self._cloud_answer.changed(actions)

    def _await_body(self, call: Admitted, now: float) -> AwaitBody:
        self.phase = Phase.ADMITTED
        seconds = self._settings.body_time.seconds(call.request.headers.get("content-length"))
        self._body_deadline = now + seconds
        return AwaitBody(record.of_request(call, self._settings.claims))

    def _pass(self, call: ToProvider, now: float) -> Action:
        """Path, query and body go on as they are, the credential is the provider's."""
        request, provider = call.request, call.provider
        path = provider.path(request.path)
        credential = provider.credential_headers(dialect_of(path, request.headers), {}, now)
        if credential is None:
            return self.reject(forwarding.NO_CREDENTIAL)
        self.phase = Phase.PASSED
        self._passed = PassedAnswer(call)
        headers = {
            ":path": path + (f"?{request.query}" if request.query else ""),
            "accept-encoding": accept_encoding(request.headers),
            **_trace(request),
            **credential,
        }
        remove = request.headers.to_remove(REQUEST_HEADERS | headers.keys())
        return Pass(headers, remove, self._record_of_passed(call))

    def _pass_answer(self, action: PassAnswer) -> PassAnswer:
        self.phase = Phase.PASSED_ERROR if action.read_body else Phase.DONE
        return action

    def _list_models(self, call: ToProvider, now: float) -> Action:
        request, provider = call.request, call.provider
        asked = dialects.row(provider.dialects[0])
        credential = provider.credential_headers(asked.name, {}, now)
        if credential is None:
            return self.reject(forwarding.NO_CREDENTIAL)
        lists = model_lists.ModelLists(call.dialect, asked.name, request.path, request.query)
        self._attempt = Attempt(lists, _NOTHING_ASKED, provider, now)
        self.phase = Phase.SENT
        headers = {
            ":path": provider.path(request.path) + (f"?{lists.query}" if lists.query else ""),
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": USER_AGENT,
            **asked.provider_headers,
            **credential,
        }
        remove = request.headers.to_remove(headers.keys() | UPSTREAM_HEADERS)
        return Pass(headers, remove, self._record_of_passed(call), read_answer=True)

    def _record_of_passed(self, call: ToProvider) -> Record:
        known = record.of_request(call, self._settings.claims)
        return known | record.of_provider(call.provider) | record.verdict(call.provider.cluster)

    def _forward(self, asked: Examined, job: Job, translated: Translated, now: float) -> Action:
        call, provider = asked.call, asked.resolved.provider
        headers = forwarding.headers(call, translated, provider, _trace(call.request), now)
        if headers is None:
            return self.reject(forwarding.NO_CREDENTIAL)
        self.verdicts = _verdicts(asked, self._auto_mode) if self._auto_mode is not None else None
        if self.verdicts is not None:
            kept = tuple(warning for warning in translated.warnings if warning != WARNING)
            translated = msgspec.structs.replace(translated, warnings=kept)
        attempt = forwarding.attempt(job, translated, asked.resolved, now, self._settings.prices)
        self._attempt = msgspec.structs.replace(attempt, verdicts=self.verdicts)
        self._body = None
        self.phase = Phase.SENT
        fields = record.of_model(asked) | record.of_translation(translated) | record.verdict(provider.cluster)
        remove = call.request.headers.to_remove(headers.keys() | UPSTREAM_HEADERS)
        return Forward(headers, remove, translated.body, fields)

    def _hand_over(self, planned: Planned, configuration: int) -> HandOver:
        """Each attempt is translated where it begins."""
        examined = planned.examined
        call = examined.call
        pool = examined.resolved.rule.pool
        assert pool is not None, "the model has several providers"
        self.verdicts = _verdicts(examined, self._auto_mode) if self._auto_mode is not None else None
        self._relayed = RelayedAnswer(call, self._settings, planned, self.verdicts, self._report)
        self._body = None
        self.phase = Phase.SENT
        raw = examined.body.raw
        headers = {
            "content-type": "application/json",
            "content-length": str(len(raw)),
            **retries(pool.failover, len(planned.candidates)),
        }
        trace = _trace(call.request)
        found = handover(examined, planned.candidates, configuration, trace)
        if (mirror := planned.mirror) is not None:
            headers[MIRROR] = mirror.provider.mirror_cluster
            headers[MIRRORED] = encoded(handover(examined, [mirror], configuration, trace))
        fields = record.of_model(examined) | record.verdict(POOL)
        remove = call.request.headers.to_remove(headers.keys() | UPSTREAM_HEADERS)
        clusters = tuple(one.provider.attempt_cluster for one in planned.candidates)
        # A body in a cloud's form has been opened; any other goes on as it came.
        body = raw if call.endpoint.cloud is not None else None
        return HandOver(headers, remove, clusters, encoded(found), fields, body)

    def _ok(self, body: bytes, headers: dict[str, str] | None = None, fields: Record | None = None) -> Action:
        return self._respond(200, headers or {}, body, (fields or {}) | {record.ENDED: True}, "answered")

    def _respond(self, status: int, headers: dict[str, str], body: bytes, fields: Record, details: str) -> Action:
        self.phase = Phase.DONE
        known = record.of_request(self.call, self._settings.claims)
        known |= record.of_model(self._body) if self._body is not None else {}
        headers = {"content-type": "application/json", **headers, **ids(self.call.request.request_id)}
        respond = Respond(status, headers, body, known | fields | {record.ANSWERED: True}, details)
        return self._in_form([respond])[0]


def _cloud_of(call: Located) -> CloudCall | None:
    """Returns the call's form; also of one to a path below a cloud's API that is not served."""
    if call.endpoint is not None:
        return call.endpoint.cloud
    api = cloud_apis.at(call.request.path)
    return CloudCall(api, "", stream=None) if api is not None else None


def _verdicts(asked: Examined, auto_mode: AutoMode) -> Verdicts | None:
    """Those that the client asks for."""
    call, body = asked.call, asked.body
    light = isinstance(body, LightBody) and "safeguards" not in body.members
    if light or call.endpoint.operation is not Operation.GENERATE or not dialects.row(call.dialect).has_verdicts:
        return None
    question = read_question(body.raw, with_turns=auto_mode.judged)
    # Not the body itself, for an answer may take minutes.
    return Verdicts(auto_mode, Subject(call, asked.resolved), question) if question is not None else None


def _is_foreign_list(call: ToProvider, *, end: bool) -> bool:
    """A list of models that comes in another shape than the caller reads."""
    if call.request.method != "GET" or not end or not dialects.is_list(call.request.path):
        return False
    return model_lists.is_foreign(call.dialect, call.provider.dialects)


def _trace(request: Request) -> dict[str, str]:
    return request.span.headers if request.span is not None else {}
