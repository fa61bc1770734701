"""What is being asked: path to endpoint, then the body's form and its model."""

from collections.abc import Mapping

import msgspec

from extproc.config.endpoints import READS_BODY, Endpoints, Operation, dialect_of
from extproc.errors import Kind, Reason, Rejection, invalid, unknown_model
from extproc.policy.authorization import body
from extproc.policy.facts import Facts
from extproc.providers.model_paths import endpoint_upstream
from extproc.providers.providers import Catalogue, Provider
from extproc.translate.model_lists import is_list

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""TRACE would send a request back with the provider's key in it (RFC 9110, 9.3.8)."""


class FindEndpoint:
    """Sets `facts.endpoint`, `facts.dialect` and, for a call that passes through, `facts.provider`.
    What is wrong with the path is said only to a proven caller."""

    def __init__(self, endpoints: Endpoints, providers: Mapping[str, Provider]) -> None:
        self._endpoints = endpoints
        self._providers = providers

    async def __call__(self, facts: Facts, now: float) -> Rejection | None:
        facts.endpoint = self._endpoints.find(facts.method, facts.path)
        facts.provider = self._providers.get((facts.endpoint and facts.endpoint.provider) or "")
        self._judge_by_upstream_path(facts)
        known = facts.endpoint.dialect if facts.endpoint else None
        if facts.provider is not None and known is None and not is_list(facts.path):
            known = facts.provider.dialects[0]
        facts.dialect = known or dialect_of(facts.path, facts.headers)
        return None

    def _judge_by_upstream_path(self, facts: Facts) -> None:
        """A path that is a served one at the provider does not pass through."""
        endpoint, provider = facts.endpoint, facts.provider
        if endpoint is None or endpoint.operation is not Operation.PASSTHROUGH or provider is None:
            return
        facts.endpoint = endpoint_upstream(endpoint, facts.path, provider)
        if facts.endpoint is not endpoint:
            facts.provider = None


class CheckRequest:
    """Method, path and the headers that say what the body is."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes

    async def __call__(self, facts: Facts, now: float) -> Rejection | None:
        endpoint = facts.endpoint
        if facts.method not in METHODS:
            return _wrong_method(facts.method, ", ".join(METHODS))
        if endpoint is None:
            return _not_found(f"{facts.method} {facts.path}: there is no such endpoint", "unknown_url", "unknown_path")
        if endpoint.method not in ("", facts.method):
            return _wrong_method(facts.method, endpoint.method)
        return self._body_headers(facts) if endpoint.operation in READS_BODY else None

    def _body_headers(self, facts: Facts) -> Rejection | None:
        encoding = facts.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            return invalid("content-encoding", f"{encoding} cannot be read here, send the body as it is", status=415)
        media = facts.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if media != "application/json":
            return invalid("content-type", "expected application/json", status=415)
        length = facts.headers.get("content-length")
        if length.isdecimal() and (len(length) > 18 or int(length) > self._max_body_bytes):
            return too_large(self._max_body_bytes)
        return None


class ReadBody:
    """Sets `facts.body` and `facts.model_sent`; of a heavy body only the latter."""

    def __init__(self, bounds: body.Bounds = body.Bounds()) -> None:  # noqa: B008 - frozen
        self._bounds = bounds

    async def __call__(self, facts: Facts, now: float) -> Rejection | None:
        facts.heavy = body.is_heavy(facts.raw_body)
        if facts.heavy:
            return self._only_the_model(facts)
        found = body.read(facts.raw_body, facts.dialect, self._bounds)
        if isinstance(found, Rejection):
            return found
        facts.body, facts.model_sent = found, found.get("model", "")
        return None

    def _only_the_model(self, facts: Facts) -> Rejection | None:
        try:
            facts.model_sent = body.model_of(facts.raw_body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return invalid("", f"the body is not valid JSON: {error}", code="")
        return None


class FindModel:
    """Sets `facts.model` and `facts.resolved`: by the rules of `models`, else by the route's provider."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def __call__(self, facts: Facts, now: float) -> Rejection | None:
        model = facts.model_sent
        if not isinstance(model, str):
            return invalid("model", "Input should be a valid string")
        facts.model = model
        assert facts.endpoint is not None
        facts.resolved = self._catalogue.resolve(model, facts.endpoint.provider)
        if not (facts.resolved.upstream if facts.resolved else model):
            return invalid("model", "Field required", code="missing_required_parameter")
        return None if facts.resolved else unknown_model(model)


def too_large(limit: int) -> Rejection:
    return Rejection(
        kind=Kind.TOO_LARGE,
        message=f"the body is larger than {limit} bytes",
        reason=Reason.REQUEST_TOO_LARGE,
        code="request_too_large",
        detail="request_too_large",
    )


def _not_found(message: str, code: str, detail: str) -> Rejection:
    return Rejection(kind=Kind.NOT_FOUND, message=message, reason=Reason.INVALID_REQUEST, code=code, detail=detail)


def _wrong_method(method: str, allowed: str) -> Rejection:
    return Rejection(
        kind=Kind.INVALID_REQUEST,
        message=f"{method[:40]} is not allowed here, use {allowed}",
        reason=Reason.INVALID_REQUEST,
        code="method_not_allowed",
        detail="wrong_method",
        status=405,
        headers=(("allow", allowed),),
    )
