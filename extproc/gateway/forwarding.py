"""A request as it goes to a provider: its path, headers by an allow-list, and the provider's credential."""

from collections.abc import Mapping

import msgspec

from extproc.config.endpoints import Operation
from extproc.errors import Kind, Reason, Rejection
from extproc.events import Record
from extproc.gateway.client_answer import Attempt
from extproc.gateway.preparation import job_of
from extproc.policy.facts import Accepted, LightBody, Planned, PreparedBody
from extproc.providers.catalogue import Resolved
from extproc.providers.prices import Prices
from extproc.providers.providers import Provider
from extproc.translate.dialects.messages.write_answer import own_answer
from extproc.translate.job import Job, reader_of, request_for
from extproc.translate.pair import Counted, OwnAnswer, RequestOutcome, Translated
from extproc.translate.same_dialect.reply import EVENTS
from extproc.wire import dialects
from extproc.wire.paths import known_query

# Everything else a client sends stays here; what the provider needs is set anew.
UPSTREAM_HEADERS = frozenset({"traceparent", "tracestate", "x-request-id"})
USER_AGENT = "llm-extproc"
_NO_SEARCH = "emulated:tools"
NO_CREDENTIAL = Rejection(
    kind=Kind.OVERLOADED,
    message="the gateway has no credential for this model at the moment",
    reason=Reason.UPSTREAM_UNAVAILABLE,
    detail="no_credential",
    status=503,
    headers=(("retry-after", "5"),),
)


def translated(
    call: Accepted, model: str, resolved: Resolved, body: LightBody | PreparedBody
) -> tuple[Job, RequestOutcome]:
    """Returns what the provider's request is made from, and what comes of it. `model`: as the client asked for it."""
    match body:
        case LightBody(raw, members):
            job = job_of(call, model, resolved, raw)
            return job, request_for(job, members)
        case PreparedBody(outcome=outcome):
            assert outcome is not None, "a body that is sent has been translated"
            return job_of(call, model, resolved), outcome


def own(found: Counted | OwnAnswer, job: Job) -> tuple[bytes, dict[str, str], Record]:
    """Returns an answer that no provider is asked for, with its headers and what is put on record of it."""
    silent = job.target.profile.strictness == "silent"
    if isinstance(found, Counted):
        headers = {} if silent else {"x-translation-warnings": "approx:input_tokens"}
        return msgspec.json.encode(found.answer), headers, {"gen_ai.usage.input_tokens": found.tokens}
    answer = own_answer(found.text, job.model, job.target.nonce, stream=found.stream)
    headers = {"content-type": EVENTS} if found.stream else {}
    headers |= {} if silent else {"x-translation-warnings": _NO_SEARCH}
    return answer, headers, {"warnings": _NO_SEARCH}


def counted_here(asked: Planned) -> tuple[bytes, dict[str, str], Record] | None:
    """Returns the answer to a call that wants its tokens counted, where the first candidate's provider is not asked to
    do so, and no connection to it is needed."""
    first, body = asked.examined, asked.examined.body
    if first.call.endpoint.operation is not Operation.COUNT_TOKENS or isinstance(body, PreparedBody):
        return None
    job, outcome = translated(first.call, first.model, asked.candidates[0], body)
    return own(outcome, job) if isinstance(outcome, Counted) else None


def attempt(job: Job, request: Translated, resolved: Resolved, now: float, prices: Prices) -> Attempt:
    """Returns who reads what the provider answers, and what it costs. `now`: Unix seconds."""
    price = None if job.counting else prices.price(resolved.provider, resolved.upstream)
    return Attempt(reader_of(job, request.dialect), request.without_body(), resolved.provider, now, price=price)


def headers(
    call: Accepted, request: Translated, provider: Provider, trace: Mapping[str, str], now: float
) -> dict[str, str] | None:
    """Returns the request's headers, `:path` among them; None: the provider's credential is missing at the moment.
    `trace`: what ties the provider's part to ours. `now`: Unix seconds."""
    # Our translations know no query, and the clouds' APIs have their own.
    passes = call.dialect == request.dialect and not provider.wrappings and call.endpoint.cloud is None
    query = known_query(call.request.query) if passes else ""
    found = {
        ":path": provider.path(request.path, root=request.root) + query,
        "content-type": "application/json",
        # Envoy answers 500 where a replaced body is not as long as the header says.
        "content-length": str(len(request.body)),
        "accept": "text/event-stream" if request.stream else "application/json",
        # An encoded answer would have to be decoded here before anything of it can be read.
        "accept-encoding": "identity",
        "user-agent": USER_AGENT,
        **request.headers,
        **trace,
    }
    credential = provider.credential_headers(dialects.at_provider(request.path) or request.dialect, found, now)
    return None if credential is None else found | credential
