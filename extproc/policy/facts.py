"""The stages at which a call is known. A step of policy takes one stage and returns the next, or a Rejection.

Request ─> Located ─> Identified ─> Accepted ─> Admitted        at the request's headers
                                    ├ ToProvider                (passes through)
                                    ├ Listing                   (a list of models)
                                    └ Answered                  (its own budgets)
Admitted ─> BodyRead ─> ModelFound ─> Examined                  at its body
                                      └ Planned                 (a model of several providers)
"""

from typing import Any, Literal, Protocol

import msgspec

from extproc.config.endpoints import Endpoint
from extproc.errors import Rejection
from extproc.events import Headers, PeerCertificate, Record
from extproc.providers.catalogue import Resolved
from extproc.providers.providers import Provider
from extproc.translate.pair import RequestOutcome
from extproc.wire import Dialect, dialects

Json = dict[str, Any]


class Caller(msgspec.Struct, frozen=True, weakref=True):
    """The caller, proven by a token, a static key or a client certificate. An anonymous caller has no claims."""

    claims: dict[str, Any]
    """Verified. Of a token's claims, those that rules or records can read."""
    kind: Literal["jwt", "key", "certificate", "anonymous"] = "jwt"

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


class Admission(Protocol):
    """A call's share of what a worker takes on (policy/admit.py)."""

    def reserve_body(self, size: int) -> Rejection | None:
        """Makes room for a body of so many bytes that has arrived, or returns why there is none."""

    def release_body(self) -> None:
        """The provider has the body and answers; a stream may last for minutes from here."""

    def release(self) -> None:
        """The call is over; releasing it twice does nothing."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The request's headers, and what Envoy says of the connection they came on."""

    started: float
    """Unix seconds."""
    method: str = ""
    path: str = ""
    """In the one spelling that rules, routes and providers see, without the query."""
    query: str = ""
    headers: Headers = Headers()
    source: str = ""
    """The address of the peer, without its port."""
    certificate: PeerCertificate | None = None
    """The client's, verified by our own listener."""
    request_id: str = ""
    span: Span | None = None


class Located(msgspec.Struct, frozen=True, kw_only=True):
    """Its endpoint, dialect and provider are known. Each later stage at the headers is one of these, too."""

    request: Request
    dialect: Dialect = dialects.DEFAULT
    endpoint: Endpoint | None = None
    """None: there is no such endpoint, which only a proven caller is told."""
    provider: Provider | None = None
    """The provider that answers a call that passes through."""

    def of(self, caller: Caller) -> "Identified":
        """Returns the call as this caller's."""
        return Identified(
            request=self.request, dialect=self.dialect, endpoint=self.endpoint, provider=self.provider, caller=caller
        )


class Identified(Located, frozen=True, kw_only=True):
    """The caller is known."""

    caller: Caller


class Accepted(Identified, frozen=True, kw_only=True):
    """A call that is served, of the right method and with a body that can be read."""

    endpoint: Endpoint


class ToProvider(Accepted, frozen=True, kw_only=True):
    """It passes through, its body unread."""

    provider: Provider


class Listing(Accepted, frozen=True, kw_only=True):
    """It asks for a list of models."""

    models: tuple[Resolved, ...]
    """Those that the caller may use."""


class Answered(Accepted, frozen=True, kw_only=True):
    """It asks for something that is known already."""

    answer: bytes


class Admitted(Accepted, frozen=True, kw_only=True):
    """Its body may come."""

    admission: Admission


class LightBody(msgspec.Struct, frozen=True):
    """A decoded body."""

    raw: bytes
    members: Json


class HeavyBody(msgspec.Struct, frozen=True):
    """A body that could hold up the event loop, which another process reads."""

    raw: bytes


class PreparedBody(msgspec.Struct, frozen=True):
    """A heavy body as that process has prepared it."""

    raw: bytes
    features: Json
    """What `policy.authorization.features.read_features` returns, and the session that the body names."""
    outcome: RequestOutcome | None
    """None: it is translated later, for each provider that is asked."""


class BodyRead(msgspec.Struct, frozen=True):
    call: Admitted
    body: LightBody | HeavyBody
    model: Any
    """The member `model` of the body, whatever it is."""


class ModelFound(msgspec.Struct, frozen=True):
    call: Admitted
    body: LightBody | HeavyBody
    model: str
    """The name that the client asked for."""
    resolved: Resolved


class Moved(msgspec.Struct, frozen=True):
    """A budget has no room for a call, and names the model that is to answer instead."""

    budget: str
    model: str
    """The name of the other model, as the budget has it."""
    resets: int
    """Unix seconds; 0: whenever a call ends."""
    refusal: Rejection
    """The answer where the other model cannot take the call."""


class Examined(msgspec.Struct, frozen=True):
    """A body that rules and provider cannot read in two ways; rules that need it can be asked."""

    call: Admitted
    body: LightBody | PreparedBody
    model: str
    """The name that the client asked for."""
    resolved: Resolved
    moved: tuple[Moved, ...] = ()
    """The budgets that moved the call to `resolved`, in order; empty: it is the model that the client asked for."""


class Planned(msgspec.Struct, frozen=True):
    """The model has several providers, and it is known which may be asked."""

    examined: Examined
    candidates: tuple[Resolved, ...]
    """In the order in which they are asked; at least one."""
    waiting: tuple[Resolved, ...] = ()
    """Those that the caller may use and that are left out at the moment."""
    refused: tuple[Resolved, ...] = ()
    """Those that the caller may not use."""
    mirror: Resolved | None = None
    """Gets a copy of the call."""
