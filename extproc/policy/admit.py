"""Admission control: how many calls and body bytes a worker has in flight, and the share of one caller."""

from dataclasses import dataclass, field
from ipaddress import IPv6Network

from extproc.config.schema import Config
from extproc.errors import Kind, Reason, Rejection
from extproc.policy.facts import Accepted, Admitted, Identified

RETRY_AFTER_SECONDS = 2
# The least that a network gets, so that one machine can have any of its addresses:
# https://www.rfc-editor.org/rfc/rfc4291#section-2.5.4.
IPV6_PREFIX = 64
CallerId = tuple[str, str, str]


@dataclass(slots=True)
class Load:
    calls: int = 0
    body_bytes: int = 0


@dataclass
class InFlight:
    """The calls in flight in one worker, of all configurations that are still in use."""

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
        self._in_flight = in_flight

    def __call__(self, call: Accepted) -> Admitted | Rejection:
        """Admits the call; runs last at the headers, so that a refused one takes no room."""
        key = caller_id(call)
        length = call.request.headers.get("content-length")
        # An announced body that cannot fit is refused now; one that can takes room only when it is here.
        if refused := self.refusal(key, Load(1, int(length) if length.isdecimal() else 0)):
            return refused
        self.add(key, 1, 0)
        return Admitted(
            request=call.request,
            dialect=call.dialect,
            endpoint=call.endpoint,
            provider=call.provider,
            caller=call.caller,
            admission=_Admission(self, key),
        )

    def refusal(self, key: CallerId, more: Load) -> Rejection | None:
        """Why so much more of this caller is too much; None: it is not."""
        if _exceeds(self._in_flight.total, more, self._most):
            return _OVERLOADED
        mine = self._in_flight.callers.get(key, _NOTHING)
        return _TOO_MUCH_OF_ONE_CALLER if _exceeds(mine, more, self._most_of_caller) else None

    def add(self, key: CallerId, calls: int, body_bytes: int) -> None:
        """Counts them, or takes them off the count."""
        mine = self._in_flight.callers.setdefault(key, Load())
        for load in (self._in_flight.total, mine):
            load.calls += calls
            load.body_bytes += body_bytes
        if not mine.calls:
            del self._in_flight.callers[key]


class _Admission:
    """See facts.Admission."""

    def __init__(self, control: AdmissionControl, key: CallerId) -> None:
        self._control = control
        self._key = key
        self._body_bytes = 0
        self._over = False

    def reserve_body(self, size: int) -> Rejection | None:
        if refused := self._control.refusal(self._key, Load(0, size)):
            return refused
        self._control.add(self._key, 0, size)
        self._body_bytes += size
        return None

    def release_body(self) -> None:
        if self._body_bytes:
            self._control.add(self._key, 0, -self._body_bytes)
            self._body_bytes = 0

    def release(self) -> None:
        self.release_body()
        if not self._over:
            self._control.add(self._key, -1, 0)
            self._over = True


def caller_id(call: Identified) -> CallerId:
    """Returns what identifies one caller: the subject of its credential or, without a credential, its address. IPv6
    addresses of one /64 network count as one."""
    caller, source = call.caller, call.request.source
    if caller.subject:
        return caller.kind, caller.issuer, caller.subject
    return "address", "", _network(source) if ":" in source else source


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
