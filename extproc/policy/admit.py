"""Admission control: how many calls and body bytes a worker has in flight, and the share of one caller."""

from dataclasses import dataclass, field
from ipaddress import IPv6Network

from extproc.config.endpoints import READS_BODY
from extproc.config.schema import Config
from extproc.errors import Kind, Reason, Rejection
from extproc.policy.facts import Facts

RETRY_AFTER_SECONDS = 2
IPV6_PREFIX = 64
CallerId = tuple[str, str, str]


@dataclass(slots=True)
class Load:
    calls: int = 0
    body_bytes: int = 0


@dataclass
class InFlight:
    """What one worker has in flight, under whatever configurations its calls began."""

    total: Load = field(default_factory=Load)
    callers: dict[CallerId, Load] = field(default_factory=dict)


class AdmissionControl:
    """A call counts from its headers on, its body from its arrival: an announced body takes no room. Each caller may
    have a share of either."""

    def __init__(self, settings: Config, in_flight: InFlight) -> None:
        limits = settings.limits
        share = limits.caller_share / 100
        self._most = Load(limits.calls, limits.body_bytes)
        # One call and one body always fit.
        self._most_of_caller = Load(
            max(1, int(limits.calls * share)), max(settings.max_body_bytes, int(limits.body_bytes * share))
        )
        self.in_flight = in_flight

    async def __call__(self, facts: Facts, now: float) -> Rejection | None:
        """Admits the call; runs last at the headers, so that a refused one takes no room."""
        if facts.endpoint is None or facts.endpoint.operation not in READS_BODY:
            return None
        length = facts.headers.get("content-length")
        if refused := self._refusal(facts, Load(1, int(length) if length.isdecimal() else 0)):
            return refused
        self._add(facts, 1, 0)
        facts.admitted = True
        return None

    async def reserve_body(self, facts: Facts, now: float) -> Rejection | None:
        """Makes room for the body that has arrived."""
        size = len(facts.raw_body)
        if refused := self._refusal(facts, Load(0, size)):
            return refused
        self._add(facts, 0, size)
        facts.body_bytes_in_flight = size
        return None

    def release_body(self, facts: Facts) -> None:
        """The provider has the body and answers; a stream may last for minutes from here."""
        if facts.body_bytes_in_flight:
            self._add(facts, 0, -facts.body_bytes_in_flight)
            facts.body_bytes_in_flight = 0

    def release(self, facts: Facts) -> None:
        """The call is over; releasing it twice does nothing."""
        self.release_body(facts)
        if facts.admitted:
            self._add(facts, -1, 0)
            facts.admitted = False

    def _refusal(self, facts: Facts, more: Load) -> Rejection | None:
        if _exceeds(self.in_flight.total, more, self._most):
            return _OVERLOADED
        mine = self.in_flight.callers.get(caller_id(facts), _NOTHING)
        return _TOO_MUCH_OF_ONE_CALLER if _exceeds(mine, more, self._most_of_caller) else None

    def _add(self, facts: Facts, calls: int, body_bytes: int) -> None:
        key = caller_id(facts)
        mine = self.in_flight.callers.setdefault(key, Load())
        for load in (self.in_flight.total, mine):
            load.calls += calls
            load.body_bytes += body_bytes
        if not mine.calls:
            del self.in_flight.callers[key]


def caller_id(facts: Facts) -> CallerId:
    """What counts as one caller: the subject of its credential or, without a credential, the address it calls from.
    IPv6 addresses of one /64 network count as one."""
    caller = facts.caller
    if caller.subject:
        return caller.kind, caller.issuer, caller.subject
    return "address", "", _network(facts.source) if ":" in facts.source else facts.source


def _network(address: str) -> str:
    try:
        return str(IPv6Network((address.partition("%")[0], IPV6_PREFIX), strict=False))
    except ValueError:
        return address


def _exceeds(load: Load, more: Load, most: Load) -> bool:
    return load.calls + more.calls > most.calls or load.body_bytes + more.body_bytes > most.body_bytes


_NOTHING = Load()
_RETRY_AFTER = (("retry-after", str(RETRY_AFTER_SECONDS)),)
_OVERLOADED = Rejection(
    kind=Kind.OVERLOADED,
    message="the gateway is busy, try again in a moment",
    reason=Reason.OVERLOADED,
    detail="overloaded",
    # Claude Code gives up after three answers of 529, but not of 503.
    status=503,
    headers=_RETRY_AFTER,
)
_TOO_MUCH_OF_ONE_CALLER = Rejection(
    kind=Kind.RATE_LIMIT,
    message="too many calls at a time from this caller, try again when some have ended",
    reason=Reason.OVERLOADED,
    detail="caller_share",
    headers=_RETRY_AFTER,
)
