"""The second half of an exchange: the provider's answer, or Envoy's where there was none.

The reply to the response headers is held back until it is known what they must say: the whole JSON, or the first
event of a stream. So HTML with 200 and a stream that dies at once still become a true error status.

    state           headers 2xx  others           a piece of the body    its end  deadline: client's, provider's  bug
    Awaited         Held         CollectedError                                                                   Over
    CollectedError                                CollectedError         Over                Over                Over
    Held                                          Held, Flowing or Over  Over     Flowing,   Over                Over
    Flowing                                       Flowing or Over        Over     Flowing,   Over                Over
    AwaitsVerdicts                                                       AwaitsVerdicts,      -                   Over
    Over                                          Over                   Over

A piece leads from Held to Flowing with the first thing that the client can get, and to Over with a failure. Both lead
to AwaitsVerdicts where a judge is to be asked about calls of tools, and its answer leads from there to Flowing or Over.
Each state's handler returns what to do and the next state, which is entered last: after an exception the state still
says what the client has got.
"""

from typing import Protocol

from extproc.errors import Rejection
from extproc.events import Action, AnswerBody, Judged, Record, ResponseBody, ResponseHeaders
from extproc.gateway import record
from extproc.gateway.client_answer import (
    NEVER,
    PROVIDER_HEADER,
    Attempt,
    ClientAnswer,
    Reading,
    Timing,
    envoys_own,
    provider_deadline,
)
from extproc.gateway.settings import Settings
from extproc.policy.facts import Located
from extproc.translate.pair import Outcome
from extproc.wire.safeguards import PING

MAX_ERROR_BYTES = 1024 * 1024
DRAIN_SECONDS = 1.0
KEEPALIVE_SECONDS = 1.0
"""Between two pings that a provider's own keep-alives bring about."""


class State(Protocol):
    """How far an answer has come."""

    @property
    def deadline(self) -> float:
        """When `on_deadline` is to be called; NEVER: there is nothing to wait for."""

    def on_body(self, event: ResponseBody, now: float) -> "Step":
        """A piece of the body has come, or its end."""

    def on_deadline(self, now: float) -> "Step":
        """Nothing has come until the deadline."""

    def on_failure(self, rejection: Rejection) -> "Step":
        """The answer cannot go on."""


Step = tuple[list[Action], State]


class Answer:
    def __init__(self, call: Located, settings: Settings, attempt: Attempt | None) -> None:
        """`attempt`: None where nothing has gone to a provider, so that the answer can only be Envoy's own."""
        own = {PROVIDER_HEADER: attempt.provider.name} if attempt is not None and settings.names_provider else {}
        self._client = ClientAnswer(call.dialect, call.request.request_id, attempt, own)
        self._settings = settings
        self._started = call.request.started
        self._attempt = attempt
        self.state: State = Awaited(self._client)
        self.outcome: Outcome | None = None
        """What is known of an answer of status 200."""

    @property
    def over(self) -> bool:
        return isinstance(self.state, Over)

    @property
    def deadline(self) -> float | None:
        """The client's or the provider's, whichever is sooner; None: there is nothing to wait for."""
        end = self.state.deadline
        return None if end == NEVER else end

    def on_headers(self, event: ResponseHeaders, now: float) -> list[Action]:
        """`now`: Unix seconds, here and below."""
        self._client.replaces(event)
        attempt = self._attempt
        if attempt is None or not 200 <= event.status < 300:
            self.state = CollectedError(self._client, attempt, event, now)
        else:
            reply = attempt.reader.reply(attempt.request, event.headers.get("content-type"))
            self.outcome = reply.outcome
            timing = Timing(self._started)
            self.state = Held(Reading(self._client, self._settings, attempt, reply, event, timing, now, now))
        return self.on_body(ResponseBody(b"", end=True), now) if event.end else []

    def on_body(self, event: ResponseBody, now: float) -> list[Action]:
        return self._enter(self.state.on_body(event, now))

    def on_deadline(self, now: float) -> list[Action]:
        return self._enter(self.state.on_deadline(now))

    def on_verdicts(self, event: Judged, now: float) -> list[Action]:
        """The judge has been asked."""
        return self._enter(self.state.on_verdicts(event, now)) if isinstance(self.state, AwaitsVerdicts) else []

    def fail(self, rejection: Rejection) -> list[Action]:
        return self._enter(self.state.on_failure(rejection))

    def _enter(self, step: Step) -> list[Action]:
        actions, self.state = step
        return actions


class Over:
    """The client has all that it gets."""

    deadline = NEVER

    def on_body(self, event: ResponseBody, now: float) -> Step:
        return [], self

    def on_deadline(self, now: float) -> Step:
        return [], self

    def on_failure(self, rejection: Rejection) -> Step:
        return [], self


class Awaited:
    """Nothing has come."""

    deadline = NEVER

    def __init__(self, client: ClientAnswer) -> None:
        self._client = client

    def on_body(self, event: ResponseBody, now: float) -> Step:
        return [], self

    def on_deadline(self, now: float) -> Step:
        return [], self

    def on_failure(self, rejection: Rejection) -> Step:
        return self._client.refuse(rejection, takes_body=False), Over()


class CollectedError:
    """An error answer is being collected, of a provider or of Envoy itself."""

    def __init__(self, client: ClientAnswer, attempt: Attempt | None, upstream: ResponseHeaders, now: float) -> None:
        self._client = client
        self._attempt = attempt
        self._upstream = upstream
        self._body = bytearray()
        self._takes_body = False
        self._last_byte_at = now

    @property
    def deadline(self) -> float:
        return provider_deadline(self._attempt, self._last_byte_at)[0] if self._attempt is not None else NEVER

    def on_body(self, event: ResponseBody, now: float) -> Step:
        self._last_byte_at = now
        self._takes_body = True
        room = MAX_ERROR_BYTES - len(self._body)
        self._body += event.body[:room]
        return self._all_of_it(now) if event.end or len(event.body) >= room else ([], self)

    def on_deadline(self, now: float) -> Step:
        """Ends with the part of the error that is here: it says more than that the rest is missing."""
        return self._all_of_it(now) if self.deadline <= now else ([], self)

    def on_failure(self, rejection: Rejection) -> Step:
        return self._client.refuse(rejection, takes_body=self._takes_body), Over()

    def _all_of_it(self, now: float) -> Step:
        attempt, upstream = self._attempt, self._upstream
        # A provider's answer is `via_upstream`, any other one is Envoy's own:
        # https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/response_code_details
        if attempt is None or upstream.details not in ("", "via_upstream"):
            return self.on_failure(envoys_own(upstream, sent=attempt is not None))
        headers = upstream.headers.as_dict()
        theirs = attempt.reader.error(attempt.request, upstream.status, headers, bytes(self._body), now)
        if not theirs.answer:
            return self._client.refuse(theirs.rejection, takes_body=self._takes_body, theirs=theirs), Over()
        body = AnswerBody(self._client.concealed(theirs.answer), True, {record.ENDED: True})
        return [self._client.begin(attempt, theirs.headers), body], Over()


class Held:
    """Nothing has gone to the client, not even the headers."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    @property
    def deadline(self) -> float:
        """A provider's keep-alives do not move the client's time: they are nothing to it."""
        reading = self._reading
        # A JSON answer to a stream request may still turn out to be an error: its status stays held.
        media = reading.upstream.headers.get("content-type")
        # Bedrock streams `application/vnd.amazon.eventstream`.
        waits = reading.streams and ("event-stream" in media or "eventstream" in media)
        own = reading.quiet_since + reading.settings.first_event_hold if waits else NEVER
        return min(own, reading.provider_deadline()[0])

    def on_body(self, event: ResponseBody, now: float) -> Step:
        reading = self._reading
        out = reading.feed(event, now)
        failure = reading.outcome.failure
        if failure is not None and not (reading.outcome.begun and reading.streams):
            return reading.refuse(failure), Over()
        if reading.awaits_verdicts and not out:
            return [], AwaitsVerdicts(reading, begun=False, at_end=event.end)
        assert out or not event.end, "a reply at its end is complete or failed"
        if not out:
            return [], self
        return self._begin(out, now, end=event.end, extra=reading.timing.first(now))

    def on_deadline(self, now: float) -> Step:
        """The client has waited long enough for headers, or the provider's time is over."""
        reading = self._reading
        end, why = reading.provider_deadline()
        if end <= now:
            return self.on_failure(why)
        reading.quiet_since = now
        return self._begin(reading.reply.ping() if reading.takes_body else b"", now)

    def on_failure(self, rejection: Rejection) -> Step:
        return self._reading.refuse(rejection), Over()

    def _begin(self, out: bytes, now: float, *, end: bool = False, extra: Record | None = None) -> Step:
        begin = self._reading.begin(now)
        actions, state = _written(self._reading, out, now, end=end, extra=extra)
        return [begin, *actions], state


class Flowing:
    """The headers have gone to the client, and all that could be written of the body."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    @property
    def deadline(self) -> float:
        reading = self._reading
        if reading.outcome.complete:
            return reading.quiet_since + DRAIN_SECONDS
        if not reading.takes_body:
            return NEVER  # Envoy, which knows the same limits, must see to it
        ping = reading.quiet_since + reading.settings.ping_interval if reading.streams else NEVER
        return min(ping, reading.provider_deadline()[0])

    def on_body(self, event: ResponseBody, now: float) -> Step:
        reading = self._reading
        out = reading.feed(event, now)
        extra = reading.timing.first(now) if out else None
        if reading.awaits_verdicts:
            return _written(reading, out, now, end=event.end, extra=extra)
        actions, over = reading.write(out, now, end=event.end, extra=extra)
        # What keeps the provider's connection awake keeps the client's (mapping 3.2).
        if not actions and reading.outcome.keepalive_seen and now >= reading.quiet_since + KEEPALIVE_SECONDS:
            actions, over = reading.write(reading.reply.ping(), now)
        return actions, Over() if over else self

    def on_deadline(self, now: float) -> Step:
        """A provider that is through but does not hang up is left; a client that waits gets a ping."""
        reading = self._reading
        end, why = reading.provider_deadline()
        if reading.takes_body and end <= now:
            return self.on_failure(why)
        reading.quiet_since = now
        complete = reading.outcome.complete
        ping = reading.reply.ping() if reading.takes_body and not complete else b""
        # An end that comes from here is clean for the client, and lets Envoy cancel what the provider still sends.
        actions, over = reading.write(ping, now, end=complete)
        return actions, Over() if over else self

    def on_failure(self, rejection: Rejection) -> Step:
        return self._reading.break_off(rejection), Over()


class AwaitsVerdicts:
    """The end of the answer is held back until a judge has been asked about its calls of tools. Nothing of the
    provider's comes meanwhile: it waits in transport/service.py."""

    def __init__(self, reading: Reading, *, begun: bool, at_end: bool) -> None:
        """`begun`: the headers have gone to the client. `at_end`: the provider's answer has come to its end."""
        self._reading = reading
        self._begun = begun
        self._at_end = at_end

    @property
    def deadline(self) -> float:
        reading = self._reading
        return reading.quiet_since + reading.settings.ping_interval if self._begun and reading.streams else NEVER

    def on_body(self, event: ResponseBody, now: float) -> Step:
        return [], self

    def on_deadline(self, now: float) -> Step:
        self._reading.quiet_since = now
        return [AnswerBody(PING, False, {})], self

    def on_verdicts(self, event: Judged, now: float) -> Step:
        reading = self._reading
        reading.last_byte_at = now
        out = reading.settle(event)
        begin = [] if self._begun else [reading.begin(now)]
        actions, state = _written(reading, out, now, end=self._at_end, extra=reading.timing.first(now))
        return [*begin, *actions], state

    def on_failure(self, rejection: Rejection) -> Step:
        """What is held back is not sent."""
        self._reading.give_up_verdicts()
        failed = self._reading.break_off if self._begun else self._reading.refuse
        return failed(rejection), Over()


def _written(reading: Reading, out: bytes, now: float, *, end: bool, extra: Record | None) -> Step:
    """A piece goes to the client, after its headers."""
    if reading.awaits_verdicts:
        actions, _ = reading.write(out, now, extra=extra)
        return actions, AwaitsVerdicts(reading, begun=True, at_end=end)
    actions, over = reading.write(out, now, end=end, extra=extra)
    return actions, Over() if over else Flowing(reading)
