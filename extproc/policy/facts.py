"""What is known of a request so far. Steps add to it; but for the body, nothing is ever taken back."""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from extproc.config.endpoints import Endpoint
from extproc.events import Headers, Record
from extproc.providers.providers import Provider, Resolved
from extproc.wire import Dialect


class Caller(msgspec.Struct, frozen=True, weakref=True):
    """The caller, proven by a token or a static key. An anonymous caller has no claims."""

    claims: dict[str, Any]
    """Verified. Of a token's claims, those that rules or records can read."""
    kind: Literal["jwt", "key", "anonymous"] = "jwt"

    @property
    def subject(self) -> str:
        """A string, says RFC 7519; what is none names nobody."""
        value = self.claims.get("sub")
        return value if isinstance(value, str) else ""

    @property
    def issuer(self) -> str:
        return str(self.claims.get("iss", ""))


ANONYMOUS = Caller({}, "anonymous")


class Span(Protocol):
    """This call's part of a trace."""

    @property
    def headers(self) -> dict[str, str]:
        """What the provider gets, so that its part joins ours (https://www.w3.org/TR/trace-context/)."""

    def end(self, seen: Record, now: float) -> None:
        """`seen`: all that was put on record of the call; `now`: Unix seconds."""


@dataclass(slots=True)
class Facts:
    started: float
    """Unix seconds."""
    method: str = ""
    path: str = ""
    query: str = ""
    headers: Headers = field(default_factory=Headers)
    hidden: frozenset[str] = frozenset()
    """Names of headers that may hold a credential, besides the usual ones; no rule reads them."""
    source: str = ""
    """The address of the peer, without its port."""
    request_id: str = ""
    endpoint: Endpoint | None = None
    dialect: Dialect = "messages"
    caller: Caller = ANONYMOUS
    raw_body: bytes = b""
    body: dict[str, Any] = field(default_factory=dict)
    heavy: bool = False
    """Another process reads the body; `body` stays empty."""
    model_sent: Any = ""
    """The member `model` of the body, whatever it is."""
    features: dict[str, Any] | None = None
    """What a heavy body asks of the model, as `policy.asked.read` tells it."""
    prepared: object = None
    """The `translate.job.Outcome` of a heavy body."""
    model: str = ""
    """The name the client asked for."""
    resolved: Resolved | None = None
    provider: Provider | None = None
    """Who answers a call that passes through."""
    admitted: bool = False
    """It counts among the calls that a worker takes on."""
    body_arrived: bool = False
    body_bytes_in_flight: int = 0
    """Room that the admission control keeps for the body."""
    models: tuple[Resolved, ...] = ()
    """What the caller may use, for a list."""
    span: Span | None = None
