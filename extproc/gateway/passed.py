"""The answer to a call that passes through: headers that would bind the client stay here, and of an error the body is
read, so that the provider's key and address are taken out. The body of any other answer is not seen."""

import re
import zlib

from extproc.errors import Kind, Reason, Rejection
from extproc.events import Action, Headers, PassAnswer, ReplaceBody, ResponseBody, ResponseHeaders
from extproc.policy.facts import ToProvider
from extproc.wire.rejections import rejection_body

# They act on the client beyond this answer, under the gateway's name.
_BINDING = frozenset(
    {
        "alt-svc", "authentication-info", "clear-site-data", "nel", "proxy-authenticate", "proxy-authentication-info",
        "public-key-pins", "report-to", "reporting-endpoints", "set-cookie", "set-cookie2",
        "strict-transport-security", "www-authenticate",
    }
)  # fmt: skip
# A path here: neither a scheme nor another host in front.
_WITHIN = re.compile(r"/(?![/\\])[^\\\s]*|[A-Za-z0-9._~?-][^\\:\s]*")
MAX_ERROR_BYTES = 1024 * 1024
# zlib's sign for a gzip header and trailer: https://docs.python.org/3/library/zlib.html#zlib.decompressobj.
_GZIP = zlib.MAX_WBITS | 16
_REASON = {429: Kind.RATE_LIMIT, 401: Kind.API, 403: Kind.PERMISSION, 404: Kind.NOT_FOUND}


class PassedAnswer:
    def __init__(self, call: ToProvider) -> None:
        self._call = call
        self._provider = call.provider
        self._answer = ResponseHeaders(0, Headers(), end=True)

    def on_headers(self, event: ResponseHeaders) -> PassAnswer:
        """`read_body` of what is returned: the body is to follow."""
        self._answer = event
        if event.details not in ("", "via_upstream"):  # Envoy's own
            return PassAnswer((), {})
        read_body = event.status >= 400 and not event.end
        remove = {name for name, value in event.headers if _binds(name, value)} | self._telling(event.headers)
        if read_body:
            remove.add("content-length")  # Envoy sets none itself, and takes a wrong one for a fault
        return PassAnswer(tuple(sorted(remove)), {}, read_body)

    def on_body(self, event: ResponseBody) -> Action:
        """The whole of it."""
        body = self._decoded(event.body) if event.body else b""
        if body is None:
            return ReplaceBody(self._unreadable(), ("content-encoding",), {}, "application/json")
        # Envoy sends what it is given, so a header that names the old coding would make it unreadable.
        return ReplaceBody(self._provider.concealed(body), ("content-encoding",), {})

    def _telling(self, headers: Headers) -> set[str]:
        """Names of those that hold the provider's key or address."""
        text = "\n".join([value for _, value in headers]).lower()
        if not any(secret in text for secret in self._provider.secrets):
            return set()
        return {name for name, value in headers if name[:1] != ":" and self._is_told(value)}

    def _is_told(self, text: str) -> bool:
        raw = text.encode("latin-1", "replace")
        return self._provider.concealed(raw) != raw

    def _decoded(self, body: bytes) -> bytes | None:
        """None: it cannot be read here, or is larger than errors are."""
        encoding = self._answer.headers.get("content-encoding", "identity").strip().lower()
        if encoding in ("identity", ""):
            return body if len(body) <= MAX_ERROR_BYTES else None
        if encoding not in ("gzip", "x-gzip"):
            return None
        reader = zlib.decompressobj(_GZIP)
        try:
            decoded = reader.decompress(body, MAX_ERROR_BYTES)
        except zlib.error:
            return None
        return decoded if reader.eof and not reader.unused_data else None

    def _unreadable(self) -> bytes:
        status = self._answer.status
        rejection = Rejection(
            kind=_REASON.get(status, Kind.API if status >= 500 else Kind.INVALID_REQUEST),
            message="the provider refused the call, in a form that cannot be read here",
            reason=Reason.UPSTREAM,
            status=status,
        )
        return rejection_body(self._call.dialect, rejection, self._call.request.request_id)


def _binds(name: str, value: str) -> bool:
    return name in _BINDING or (name == "location" and not _WITHIN.fullmatch(value))


def accept_encoding(headers: Headers) -> str:
    """Returns the `accept-encoding` for the provider: encodings in which an error can be read here."""
    return "gzip" if "gzip" in headers.get("accept-encoding").lower() else "identity"
