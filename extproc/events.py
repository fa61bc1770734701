"""What happens to an exchange and what it wants done: the vocabulary between `transport/` and everything below it."""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from enum import IntEnum

import msgspec

Record = dict[str, str | int | float | bool]

# Envoy's own: framing is its codecs' business, `host` follows from the cluster, and without `x-forwarded-proto`
# it finds no route (the route removes it afterwards).
_ENVOYS = frozenset({"connection", "transfer-encoding", "host", "x-forwarded-proto"})


class Headers:
    """Header fields in order, names in lower case; a name may occur more than once."""

    __slots__ = ("_fields", "_first")

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields = tuple(fields)
        self._first = dict(reversed(self._fields))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._fields)

    def get(self, name: str, default: str = "") -> str:
        """The first value."""
        return self._first.get(name, default)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self._fields if key == name]

    def names(self) -> set[str]:
        return set(self._first)

    def to_remove(self, kept: AbstractSet[str]) -> tuple[str, ...]:
        """The names of all that is not kept; `content-length` is among them unless it is set."""
        return tuple(sorted(n for n in self._first if n not in kept and n not in _ENVOYS and not n.startswith(":")))

    def as_dict(self) -> dict[str, str]:
        """Last value wins."""
        return dict(self._fields)


class PeerCertificate(msgspec.Struct, frozen=True):
    """A client's TLS certificate, which Envoy has verified; members are empty where it has no such name."""

    uri: str
    """The first URI among its subject alternative names."""
    subject: str
    """Its distinguished name, as RFC 2253 writes it."""
    sha256: str
    """Digest of the whole certificate, in hex."""


class RequestHeaders(msgspec.Struct, frozen=True):
    headers: Headers
    end: bool
    """No body follows."""
    source: str = ""
    """The peer of Envoy's connection, `ADDRESS:PORT`; no header has a say in it."""
    certificate: PeerCertificate | None = None
    """What that peer presented; no header has a say in it."""


class AttemptHeaders(msgspec.Struct, frozen=True):
    """An admitted call is about to go to one of the providers of its model."""

    cluster: str
    """Envoy's, in which this is said; no header has a say in it."""
    number: int
    """Which attempt of the call it is, from 1."""
    handover: str
    """What admission has handed over (gateway/handover.py)."""
    names: frozenset[str]
    """The names of the headers that are there."""
    before: Record
    """What earlier attempts have put on record."""
    is_copy: bool = False
    """It is a copy of a call that is answered by another provider; nobody gets the answer."""


class RequestBody(msgspec.Struct, frozen=True):
    body: bytes


class ResponseHeaders(msgspec.Struct, frozen=True):
    status: int
    headers: Headers
    end: bool
    details: str = ""
    """Envoy's response code details; `via_upstream` when a provider really answered."""
    attempts: Record = {}
    """What the attempts of the call have put on record."""
    attempts_made: int = 0
    """How many Envoy has begun, those that met no connection included."""


class ResponseBody(msgspec.Struct, frozen=True):
    body: bytes
    end: bool
    attempts: Record = {}
    """As in ResponseHeaders; with the end only."""


class DeadlineReached(msgspec.Struct, frozen=True):
    """The client has heard nothing for until the deadline the exchange had set."""


class VerdictOutcome(IntEnum):
    """From the mildest to the strictest."""

    ALLOW = 0
    UNAVAILABLE = 1
    DENY = 2


class Verdict(msgspec.Struct, frozen=True):
    """Whether a call of a tool may run, for a client that asks (wire/safeguards.py)."""

    outcome: VerdictOutcome
    text: str = ""
    """Why a call is denied, for the developer and the model; or why there is no verdict, in the client's own words:
    `timeout`, `error`, `refused`, `input_too_long`, `input_unparsed`, `truncated`."""
    by: str = ""
    """What decided: a rule's place in `gateway.yaml`, `judge`, `provider` or `otherwise`."""


class Judged(msgspec.Struct, frozen=True):
    """The judge has been asked about the calls of an answer whose end is held back."""

    verdicts: dict[str, Verdict]
    """By the calls' ids; a call that is not there has not been judged."""


Event = RequestHeaders | AttemptHeaders | RequestBody | ResponseHeaders | ResponseBody | DeadlineReached | Judged


class AwaitBody(msgspec.Struct, frozen=True):
    """The request headers are fine so far: send the body, and later the answer."""

    record: Record


class Forward(msgspec.Struct, frozen=True):
    """The final verdict: let the request go upstream, changed."""

    set_headers: dict[str, str]
    remove_headers: tuple[str, ...]
    body: bytes
    record: Record


class HandOver(msgspec.Struct, frozen=True):
    """The final verdict on a call that may be tried at several providers: its body stays as it is, and each attempt is
    made where it begins."""

    set_headers: dict[str, str]
    remove_headers: tuple[str, ...]
    clusters: tuple[str, ...]
    """Envoy's, in the order in which they are asked."""
    handover: str
    """What each attempt is told (gateway/handover.py)."""
    record: Record
    opened: bytes | None = None
    """The body, where it came in a cloud's form; None: it stays as it came."""


class Pass(msgspec.Struct, frozen=True):
    """The final verdict at the headers: let the request go upstream, its body unread. Of the answer the headers are
    shown, or all of it where it has to be translated."""

    set_headers: dict[str, str]
    remove_headers: tuple[str, ...]
    record: Record
    read_answer: bool = False


class PassAnswer(msgspec.Struct, frozen=True):
    """Let the answer to a call that passes through go on, without some of its headers."""

    remove_headers: tuple[str, ...]
    record: Record
    read_body: bool = False
    """Hold the headers and show the body, in one piece."""


class ReplaceBody(msgspec.Struct, frozen=True):
    """Let an answer go on that was held and read; its status stays."""

    body: bytes
    remove_headers: tuple[str, ...]
    record: Record
    media: str = ""
    """Media type of the new body; empty: that of the old one."""


class Respond(msgspec.Struct, frozen=True):
    """Answer the client ourselves; the request goes nowhere."""

    status: int
    headers: dict[str, str]
    body: bytes
    record: Record
    details: str = ""


class BeginAnswer(msgspec.Struct, frozen=True):
    """Let the held response headers go."""

    status: int
    set_headers: dict[str, str]
    remove_headers: tuple[str, ...]
    record: Record


class AnswerBody(msgspec.Struct, frozen=True):
    body: bytes
    end: bool
    record: Record


Action = AwaitBody | Forward | HandOver | Pass | PassAnswer | ReplaceBody | Respond | BeginAnswer | AnswerBody
