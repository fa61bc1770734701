"""The steps of an attempt in their order: what was handed over, the body, the provider, its answer."""

from extproc.errors import Kind, Reason, Rejection
from extproc.events import Action, AttemptHeaders, Event, Record, RequestBody
from extproc.gateway.attempt import AttemptExchange, Place
from extproc.gateway.attempts import Report
from extproc.gateway.handover import Handover, decoded
from extproc.gateway.preparation import Examine, job_of
from extproc.gateway.settings import Settings
from extproc.policy.facts import LightBody, PreparedBody
from extproc.providers.catalogue import Catalogue, Resolved

_GONE = Rejection(
    kind=Kind.OVERLOADED,
    message="the gateway's configuration has changed in the midst of the call, try again",
    reason=Reason.OVERLOADED,
    detail="candidate_gone",
    status=503,
    headers=(("retry-after", "1"),),
)


class Attempts:
    """As Gateway, for attempts."""

    number = 0
    """The configuration's, as `Gateway.number`."""

    def __init__(self, catalogue: Catalogue, settings: Settings, examine: Examine, report: Report) -> None:
        """`report`: is told how each attempt ended."""
        self._catalogue = catalogue
        self._settings = settings
        self._examine = examine
        self._report = report

    def exchange(self, now: float) -> AttemptExchange:
        return AttemptExchange(now, self._settings, self._report)

    def ended(self, attempt: AttemptExchange, seen: Record) -> None:
        """Called once, when nothing more will come."""

    def decides(self, event: Event) -> bool:
        """It may have to wait; any other event is for `go_on`."""
        return isinstance(event, AttemptHeaders | RequestBody)

    async def handle(self, attempt: AttemptExchange, event: Event, now: float) -> list[Action]:
        """`now`: Unix seconds. What to do about the event, in order. Raises ValueError for what cannot be."""
        match event:
            case AttemptHeaders():
                return self._begin(attempt, event, now)
            case RequestBody():
                read = await self._read(attempt, event.body)
                return [attempt.reject(read)] if isinstance(read, Rejection) else attempt.send(read, now)
            case _:
                return self.go_on(attempt, event, now)

    def go_on(self, attempt: AttemptExchange, event: Event, now: float) -> list[Action]:
        """What follows without having to wait."""
        return attempt.handle(event, now)

    def _begin(self, attempt: AttemptExchange, event: AttemptHeaders, now: float) -> list[Action]:
        """Raises ValueError for what no admission has handed over."""
        found = decoded(event.handover)
        if not 1 <= event.number <= len(found.order):
            raise ValueError("an attempt that was not planned")
        candidates = [self._candidate(found, number) for number in found.order]
        mine = candidates[event.number - 1]
        # A worker that has crashed since knows the newest configuration alone, in which numbers mean something else.
        if found.configuration != self.number or mine is None or mine.rule.pool is None:
            return [attempt.reject(_GONE)]
        mirrors = event.cluster == mine.provider.mirror_cluster
        if not mirrors and event.cluster != mine.provider.attempt_cluster:
            return [attempt.reject(_GONE)]
        order = tuple(one.provider.name if one is not None else "" for one in candidates)
        return attempt.begin(Place(found, event.number, mine, order, mine.rule.pool.failover, mirrors), event, now)

    def _candidate(self, found: Handover, number: int) -> Resolved | None:
        try:
            return self._catalogue.candidate(found.name, found.rule, number, found.dialect)
        except KeyError:
            return None

    async def _read(self, attempt: AttemptExchange, raw: bytes) -> LightBody | PreparedBody | Rejection:
        handover = attempt.placed.handover
        job = job_of(attempt.admitted, handover.asked, attempt.placed.candidate)
        return await self._examine.again(raw, job, handover.caller)
