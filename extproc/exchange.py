"""One request's state machine: synchronous and pure. Policy has passed before an event arrives here."""

from enum import Enum, auto

import msgspec

from extproc import record
from extproc.answer import Answer, ids, other_names
from extproc.endpoints import Operation
from extproc.errors import Kind, Reason, Rejection, invalid
from extproc.events import (
    Action,
    AwaitBody,
    Event,
    Forward,
    Pass,
    Record,
    RequestBody,
    RequestHeaders,
    Respond,
    ResponseBody,
    ResponseHeaders,
    Silence,
)
from extproc.facts import Facts
from extproc.profiles import Profile
from extproc.providers import Resolved
from extproc.settings import Settings
from extproc.translate import count, model_lists, models
from extproc.translate.counters import counted, counter_for
from extproc.translate.for_messages.reply import said
from extproc.translate.identity.reply import EVENTS
from extproc.translate.pair import Json, Pair, Target, Translated
from extproc.translate.table import pair_for
from extproc.wire import Dialect
from extproc.wire.rejections import rejection_body, rejection_status

# Everything else a client sends stays here; what the provider needs is set anew.
UPSTREAM_HEADERS = frozenset({"traceparent", "tracestate", "x-request-id"})
USER_AGENT = "llm-extproc"
# A call that passes through keeps what describes it; nothing else, above all no credential.
PASSED_ON = (
    "accept", "anthropic-", "content-", "idempotency-key", "if-", "openai-", "range", "traceparent", "tracestate",
    "user-agent", "x-app", "x-claude-code-", "x-request-id", "x-stainless-",
)  # fmt: skip

_NO_COUNT = Rejection(
    kind=Kind.NOT_FOUND,
    message="tokens are not counted for this model",
    reason=Reason.INVALID_REQUEST,
    detail="count_tokens_off",
)
_PATHS: dict[Dialect, str] = {
    "messages": "/v1/messages",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
}
# Where tokens are counted, below the path at which answers are given.
_COUNTS: dict[Dialect, str] = {"messages": "/count_tokens", "responses": "/input_tokens"}
# What can be counted, in either API that counts.
_COUNTED = count.INPUT | {"input", "instructions", "parallel_tool_calls", "reasoning", "text"}


_NOTHING_ASKED = Translated(path="", body=b"", stream=False, model="")


class Phase(Enum):
    NEW = auto()
    ADMITTED = auto()
    SENT = auto()
    ANSWERING = auto()
    DONE = auto()


NEXT: dict[type[Event], frozenset[Phase]] = {
    RequestHeaders: frozenset({Phase.NEW}),
    RequestBody: frozenset({Phase.ADMITTED}),
    # Envoy's own refusals (a body too large, say) come in ADMITTED.
    ResponseHeaders: frozenset({Phase.ADMITTED, Phase.SENT}),
    ResponseBody: frozenset({Phase.ANSWERING}),
    Silence: frozenset({Phase.ANSWERING}),
}


class OutOfOrder(Exception):
    """An event that cannot follow what came before."""


class Exchange:
    def __init__(self, facts: Facts, settings: Settings) -> None:
        self.facts = facts
        self.phase = Phase.NEW
        self._settings = settings
        self._answer = Answer(facts, settings)
        self._now = 0.0

    @property
    def deadline(self) -> float | None:
        """When the exchange wants to know that nothing has come, in Unix seconds; None: it can wait."""
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
            case ResponseHeaders():
                self.phase = Phase.ANSWERING
                return self._answer.begins(event, now)
            case ResponseBody():
                return self._answer.goes_on(event, now)
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
                return self.reject(invalid("", "a JSON body is required"))
            case Operation.GENERATE | Operation.COUNT_TOKENS:
                self.phase = Phase.ADMITTED
                return AwaitBody(record.of_request(self.facts, self._settings.claims))
            case Operation.PASSTHROUGH:
                return self._list_models() if self._is_foreign_list(event) else self._pass()

    def _pass(self) -> Pass:
        """Path, query and body go on as they are, the credential is the provider's."""
        self.phase = Phase.DONE
        provider = self.facts.provider
        assert provider is not None
        query = f"?{self.facts.query}" if self.facts.query else ""
        headers = {":path": provider.path(self.facts.path) + query, **self._trace(), **provider.credential_headers()}
        fields = record.of_request(self.facts, self._settings.claims) | record.of_provider(provider)
        kept = {name for name in self.facts.headers.names() if name.startswith(PASSED_ON)}
        return Pass(headers, other_names(self.facts.headers, kept | headers.keys()), fields | record.verdict(provider))

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
            **provider.credential_headers(),
        }
        fields = record.of_request(facts, self._settings.claims) | record.of_provider(provider)
        remove = other_names(facts.headers, headers.keys() | UPSTREAM_HEADERS)
        return Pass(headers, remove, fields | record.verdict(provider), read_answer=True)

    def _send(self) -> Action:
        resolved = self.facts.resolved
        assert resolved is not None and self.facts.endpoint is not None
        body, to = self._target(resolved)
        if self.facts.endpoint.operation is not Operation.COUNT_TOKENS:
            return self._ask(pair_for(self.facts.dialect, resolved.dialects), body, to)
        if to.profile.count_tokens == "off":
            return self.reject(_NO_COUNT)
        if self.facts.dialect in resolved.dialects:
            pair, below = pair_for(self.facts.dialect, resolved.dialects), _COUNTS[self.facts.dialect]
            return self._ask(pair, body, to, below)
        counter = counter_for(self.facts.dialect, to.profile.count_tokens, resolved.dialects)
        if counter or self.facts.dialect != "messages":
            return self._ask(counter, body, to)
        return self._count(body, to)

    def _target(self, resolved: Resolved) -> tuple[Json, Target]:
        settings = self._of_operation(resolved.configured(self.facts.dialect, self.facts.body))
        body = {**self.facts.body, **settings, "model": self.facts.model or resolved.upstream}
        to = Target(
            profile=resolved.profile,
            model=resolved.upstream,
            nonce=self.facts.request_id,
            now=self.facts.started,
            headers=self.facts.headers.as_dict(),
            raw=self.facts.raw_body,
            settings=settings,
        )
        return body, to

    def _of_operation(self, settings: Json) -> Json:
        """Anthropic refuses to count where it is told anything that is no input, such as a limit."""
        assert self.facts.endpoint is not None
        if self.facts.endpoint.operation is not Operation.COUNT_TOKENS:
            return settings
        return {name: value for name, value in settings.items() if name in _COUNTED}

    def _ask(self, pair: Pair | None, body: Json, to: Target, below: str = "") -> Action:
        resolved = self.facts.resolved
        assert resolved is not None
        if pair is None:
            return self.reject(_no_pair(resolved))
        asked = pair.request(body, to)
        if asked.answer and self._generates:
            return self._say(asked.answer, to)
        if isinstance(asked, Rejection):
            return self.reject(asked)
        asked = msgspec.structs.replace(asked, path=asked.path + below, silent=to.profile.strictness == "silent")
        self._answer.expect(pair, asked.without_body(), resolved.provider, self._now)
        # A stream may last for minutes; nothing needs the client's body any more.
        self.facts.body, self.facts.raw_body = {}, b""
        self.phase = Phase.SENT
        return self._forward(asked, resolved)

    @property
    def _generates(self) -> bool:
        return self.facts.endpoint is not None and self.facts.endpoint.operation is Operation.GENERATE

    def _say(self, text: str, to: Target) -> Action:
        """What a model shall know comes as an answer."""
        stream = self.facts.body.get("stream") is True
        answer = said(text, self.facts.model, to.nonce, stream=stream)
        headers = {"content-type": EVENTS} if stream else {}
        warning = {} if to.profile.strictness == "silent" else {"x-translation-warnings": _NO_SEARCH}
        return self._ok(answer, headers | warning, {"warnings": _NO_SEARCH})

    def _forward(self, asked: Translated, resolved: Resolved) -> Forward:
        provider = resolved.provider
        # Our translations know no query; what passes in its own dialect keeps the client's.
        query = f"?{self.facts.query}" if self.facts.query and self.facts.dialect in resolved.dialects else ""
        headers = {
            ":path": provider.path(asked.path, root=asked.root) + query,
            "content-type": "application/json",
            "content-length": str(len(asked.body)),
            "accept": "text/event-stream" if asked.stream else "application/json",
            "accept-encoding": "identity",
            "user-agent": USER_AGENT,
            **asked.headers,
            **self._trace(),
            **provider.credential_headers(),
        }
        fields = record.of_model(self.facts) | record.of_translation(asked) | record.verdict(provider)
        remove = other_names(self.facts.headers, headers.keys() | UPSTREAM_HEADERS)
        return Forward(headers, remove, asked.body, fields)

    def _trace(self) -> dict[str, str]:
        return self.facts.span.headers if self.facts.span is not None else {}

    def _count(self, body: Json, to: Target) -> Action:
        assert self.facts.resolved is not None
        tokens = count.estimate(body, to, self.facts.resolved.dialects[0])
        if isinstance(tokens, Rejection):
            return self.reject(tokens)
        headers = {} if to.profile.strictness == "silent" else {"x-translation-warnings": "approx:input_tokens"}
        return self._ok(msgspec.json.encode(counted(tokens, body)), headers, {"gen_ai.usage.input_tokens": tokens})

    def _ok(self, body: bytes, headers: dict[str, str] | None = None, fields: Record | None = None) -> Respond:
        return self._respond(200, headers or {}, body, (fields or {}) | {record.ENDED: True}, "answered")

    def _respond(self, status: int, headers: dict[str, str], body: bytes, fields: Record, details: str) -> Respond:
        self.phase = Phase.DONE
        known = record.of_request(self.facts, self._settings.claims) | record.of_model(self.facts)
        headers = {"content-type": "application/json", **headers, **ids(self.facts.request_id)}
        return Respond(status, headers, body, known | fields | {record.ANSWERED: True}, details)


_NO_SEARCH = "emulated:tools"


def _no_pair(resolved: Resolved) -> Rejection:
    served = [path for dialect, path in _PATHS.items() if pair_for(dialect, resolved.dialects)]
    problem = f"this model cannot be asked in this API; use {' or '.join(served)}"
    return invalid("model", problem, code="unsupported_value")
