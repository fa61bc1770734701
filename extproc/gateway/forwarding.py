"""A request as it goes to a provider: its path, headers by an allow-list, and the provider's credential."""

from collections.abc import Mapping

from extproc.errors import Kind, Reason, Rejection
from extproc.gateway.client_answer import Attempt
from extproc.policy.facts import Accepted
from extproc.providers.catalogue import Resolved
from extproc.providers.prices import Prices
from extproc.providers.providers import Provider
from extproc.translate.job import Job, reader_of
from extproc.translate.pair import Translated
from extproc.wire import dialects
from extproc.wire.paths import known_query

# Everything else a client sends stays here; what the provider needs is set anew.
UPSTREAM_HEADERS = frozenset({"traceparent", "tracestate", "x-request-id"})
USER_AGENT = "llm-extproc"
NO_CREDENTIAL = Rejection(
    kind=Kind.OVERLOADED,
    message="the gateway has no credential for this model at the moment",
    reason=Reason.UPSTREAM_UNAVAILABLE,
    detail="no_credential",
    status=503,
    headers=(("retry-after", "5"),),
)


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
