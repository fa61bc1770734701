"""What is being asked: path to endpoint, then the body's form and its model."""

from collections.abc import Mapping

import msgspec

from extproc.config.endpoints import READS_BODY, Endpoint, Endpoints, Operation, dialect_of
from extproc.errors import Kind, Reason, Rejection, invalid, unknown_model
from extproc.events import Headers
from extproc.policy.authorization import body
from extproc.policy.facts import (
    Accepted,
    Admitted,
    BodyRead,
    HeavyBody,
    Identified,
    LightBody,
    Located,
    ModelFound,
    Request,
    ToProvider,
)
from extproc.providers.catalogue import Catalogue
from extproc.providers.model_paths import endpoint_upstream
from extproc.providers.providers import Provider
from extproc.wire.cloud_api import OpenedBody, anthropic_betas, names_of
from extproc.wire.dialects import is_list

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""TRACE would send a request back with the provider's key in it (RFC 9110, 9.3.8)."""
_BETA = "anthropic-beta"
_JSON = frozenset({"application/json"})


class FindEndpoint:
    """Path to endpoint, dialect and, for a call that passes through, provider. What is wrong with the path is said only
    to a proven caller."""

    def __init__(self, endpoints: Endpoints, providers: Mapping[str, Provider]) -> None:
        self._endpoints = endpoints
        self._providers = providers

    def __call__(self, request: Request) -> Located:
        endpoint, provider = self._find(request)
        known = endpoint.dialect if endpoint else None
        if provider is not None and known is None and not is_list(request.path):
            known = provider.dialects[0]
        dialect = known or dialect_of(request.path, request.headers)
        return Located(request=request, dialect=dialect, endpoint=endpoint, provider=provider)

    def _find(self, request: Request) -> tuple[Endpoint | None, Provider | None]:
        endpoint = self._endpoints.find(request.method, request.path)
        provider = self._providers.get((endpoint and endpoint.provider) or "")
        if endpoint is None or endpoint.operation is not Operation.PASSTHROUGH or provider is None:
            return endpoint, provider
        # A path that is a served one at the provider does not pass through.
        there = endpoint_upstream(endpoint, request.path, provider)
        return there, provider if there is endpoint else None


class CheckRequest:
    """Method, path and the headers that say what the body is."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes

    def __call__(self, call: Identified) -> Accepted | Rejection:
        """Returns ToProvider for a call that passes through."""
        request, endpoint = call.request, call.endpoint
        if request.method not in METHODS:
            return _wrong_method(request.method, ", ".join(METHODS))
        if endpoint is None:
            return _not_found(request)
        if endpoint.method not in ("", request.method):
            return _wrong_method(request.method, endpoint.method)
        if endpoint.operation in READS_BODY and (wrong := self._wrong_headers(request, endpoint)):
            return wrong
        dialect, provider, caller = call.dialect, call.provider, call.caller
        if endpoint.operation is not Operation.PASSTHROUGH:
            return Accepted(request=request, dialect=dialect, endpoint=endpoint, provider=provider, caller=caller)
        if provider is None:
            return _not_found(request)
        return ToProvider(request=request, dialect=dialect, endpoint=endpoint, provider=provider, caller=caller)

    def _wrong_headers(self, request: Request, endpoint: Endpoint) -> Rejection | None:
        # A compressed body would have to be bounded while it is unpacked.
        encoding = request.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            return invalid("content-encoding", f"{encoding} cannot be read here, send the body as it is", status=415)
        media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if media not in (endpoint.cloud.api.media if endpoint.cloud is not None else _JSON):
            return invalid("content-type", "expected application/json", status=415)
        length = request.headers.get("content-length")
        if length.isdecimal() and (len(length) > 18 or int(length) > self._max_body_bytes):
            return too_large(self._max_body_bytes)
        return None


class OpenBody:
    """Makes the dialect's body of one in a cloud's form, whose path or body names the model by the cloud's id."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def __call__(self, call: Admitted, raw: bytes) -> tuple[Admitted, bytes] | Rejection:
        """Returns the call with the betas of its body among its headers, and the body."""
        cloud = call.endpoint.cloud
        if cloud is None:
            return call, raw
        opened = cloud.open(raw)
        if isinstance(opened, Rejection):
            return opened
        return _with_betas(call, opened.betas), self.written(opened)

    def written(self, opened: OpenedBody) -> bytes:
        """Returns the dialect's body, with the name that the configuration has for the model."""
        return opened.written(self._catalogue.first_known(names_of(opened.model)) or opened.model)


def _with_betas(call: Admitted, betas: tuple[str, ...]) -> Admitted:
    """Returns the call with all its betas in one header, by Anthropic's names."""
    headers = call.request.headers
    # The header may come several times, and hold several names: https://platform.claude.com/docs/en/api/beta-headers.
    sent = [beta.strip() for value in headers.all(_BETA) for beta in value.split(",")]
    wanted = anthropic_betas((*filter(None, sent), *betas))
    if not wanted:
        return call
    kept = [(name, value) for name, value in headers if name != _BETA]
    merged = Headers([*kept, (_BETA, ",".join(wanted))])
    return msgspec.structs.replace(call, request=msgspec.structs.replace(call.request, headers=merged))


class ReadBody:
    """Decodes the body; of a heavy one only the model."""

    def __init__(self, bounds: body.Bounds = body.Bounds()) -> None:  # noqa: B008 - frozen
        self._bounds = bounds

    def __call__(self, call: Admitted, raw: bytes) -> BodyRead | Rejection:
        if body.is_heavy(raw):
            try:
                return BodyRead(call, HeavyBody(raw), body.model_of(raw))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                return invalid("", f"the body is not valid JSON: {error}", code="")
        found = body.read(raw, call.dialect, self._bounds)
        if isinstance(found, Rejection):
            return found
        return BodyRead(call, LightBody(raw, found), found.get("model", ""))


class FindModel:
    """Finds the provider of the model that is asked for: by the rules of `models`, else the route's."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def __call__(self, read: BodyRead) -> ModelFound | Rejection:
        model = read.model
        if not isinstance(model, str):
            return invalid("model", "Input should be a valid string")
        resolved = self._catalogue.resolve(model, read.call.endpoint.provider, read.call.dialect)
        if not (resolved.upstream if resolved else model):
            return invalid("model", "Field required", code="missing_required_parameter")
        return ModelFound(read.call, read.body, model, resolved) if resolved else unknown_model(model)


def too_large(limit: int) -> Rejection:
    return Rejection(
        kind=Kind.TOO_LARGE,
        message=f"the body is larger than {limit} bytes",
        reason=Reason.REQUEST_TOO_LARGE,
        code="request_too_large",
        detail="request_too_large",
    )


def _not_found(request: Request) -> Rejection:
    return Rejection(
        kind=Kind.NOT_FOUND,
        message=f"{request.method} {request.path}: there is no such endpoint",
        reason=Reason.INVALID_REQUEST,
        code="unknown_url",
        detail="unknown_path",
    )


def _wrong_method(method: str, allowed: str) -> Rejection:
    return Rejection(
        kind=Kind.INVALID_REQUEST,
        message=f"{method[:40]} is not allowed here, use {allowed}",
        reason=Reason.INVALID_REQUEST,
        code="method_not_allowed",
        detail="wrong_method",
        status=405,
        # Required with this status: https://www.rfc-editor.org/rfc/rfc9110#section-15.5.6.
        headers=(("allow", allowed),),
    )
