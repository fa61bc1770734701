"""Where a request carries its credential, and that there is only one."""

from collections.abc import Iterator, Sequence

from extproc.config.faults import Fault
from extproc.config.schema import CookieLocation, HeaderLocation, Location
from extproc.events import Headers

# What passes of a request: names that clients of Anthropic and OpenAI send, and HTTP's own that describe a call or its
# body. Nothing that says who calls, who is billed, or that carries a credential.
REQUEST_HEADERS = frozenset(
    {
        "accept", "accept-language", "content-disposition", "content-encoding", "content-language", "content-length",
        "content-md5", "content-range", "content-type", "idempotency-key",
        "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range",
        "traceparent", "tracestate", "user-agent", "x-request-id", "x-client-request-id",
        "anthropic-beta", "anthropic-dangerous-direct-browser-access", "anthropic-version", "openai-beta",
        "x-app", "x-claude-code-agent-id", "x-claude-code-session-id",
        "x-stainless-arch", "x-stainless-async", "x-stainless-custom-event-handler",
        "x-stainless-custom-poll-interval", "x-stainless-helper", "x-stainless-helper-method", "x-stainless-lang",
        "x-stainless-os", "x-stainless-package-version", "x-stainless-poll-helper", "x-stainless-raw-response",
        "x-stainless-read-timeout", "x-stainless-retry-count", "x-stainless-runtime", "x-stainless-runtime-version",
        "x-stainless-stream-helper", "x-stainless-timeout",
    }
)  # fmt: skip
# Headers with a meaning of their own: of one hop (https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1), of HTTP, or
# the usual places of credentials.
_RESERVED = (
    "authorization", "connection", "cookie", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade", "x-api-key",
)  # fmt: skip
_ENVOYS = ("x-envoy-", "x-forwarded-")


class Unproven(Exception):
    """The credential proves nothing; `str()` is the code for the record."""


def credential(headers: Headers, locations: Sequence[Location], most: int) -> str | None:
    """The one token a request carries, at most `most` bytes. Claude Code with an apiKeyHelper sends the same one in
    both headers. Raises Unproven when there is no telling which is meant: Envoy joins repeated `authorization` with
    a comma."""
    found = {value for location in locations for value in _values(headers, location)}
    if len(found) > 1 or any("," in token for token in found):
        raise Unproven("two_credentials")
    token = next(iter(found), None)
    # A token is verified, and hashed for the cache, as often as anybody sends one.
    if token is not None and len(token) > most:
        raise Unproven("token_too_large")
    if token is not None and (not token or not token.isascii()):
        raise Unproven("token_malformed")
    return token


def placed(token: str, location: Location) -> tuple[str, str]:
    """The header field that carries it there."""
    match location:
        case "authorization":
            return "authorization", f"Bearer {token}"
        case "x-api-key":
            return "x-api-key", token
        case HeaderLocation():
            return location.header, token
        case CookieLocation():
            return "cookie", f"{location.cookie}={token}"


def _values(headers: Headers, location: Location) -> Iterator[str]:
    match location:
        case "authorization":
            yield from map(_bearer, headers.all("authorization"))
        case "x-api-key":
            yield from headers.all("x-api-key")
        case HeaderLocation():
            yield from headers.all(location.header)
        case CookieLocation():
            for field in headers.all("cookie"):
                yield from _cookies(field, location.cookie)


def _bearer(value: str) -> str:
    scheme, _, token = value.partition(" ")
    # The name of a scheme is the same in any letter case: https://www.rfc-editor.org/rfc/rfc9110#section-11.1.
    if scheme.lower() != "bearer":
        raise Unproven("not_a_bearer_token")
    return token.strip()


def _cookies(field: str, wanted: str) -> Iterator[str]:
    """https://www.rfc-editor.org/rfc/rfc6265#section-4.2: a value may stand in quotes."""
    for pair in field.split(";"):
        name, _, value = pair.partition("=")
        if name.strip() == wanted:
            yield value.strip().removeprefix('"').removesuffix('"')


def headers(locations: Sequence[Location]) -> frozenset[str]:
    """Names that are configured here; the usual ones are known without."""
    return frozenset(location.header for location in locations if isinstance(location, HeaderLocation))


def faults(locations: Sequence[Location]) -> Iterator[Fault]:
    """A header that goes on to providers, or that means something else, must carry no credential."""
    for index, location in enumerate(locations):
        where = ("authentication", "locations", index)
        if location in locations[:index]:
            yield Fault(where, "this location stands here twice")
        if not isinstance(location, HeaderLocation):
            continue
        if location.header in REQUEST_HEADERS:
            yield Fault((*where, "header"), f"{location.header} is passed on to providers; choose another header")
        elif location.header in _RESERVED or location.header.startswith(_ENVOYS):
            yield Fault((*where, "header"), f"{location.header} has a meaning of its own; choose another header")
