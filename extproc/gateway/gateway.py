"""The steps of a call in their order: policy for each event, then the exchange."""

import os
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from extproc.config import loading, processor_tls
from extproc.config.endpoints import Endpoints, Operation
from extproc.config.files import Files
from extproc.config.loading import Fault, Invalid, Source
from extproc.config.schema import Config
from extproc.errors import Rejection
from extproc.events import Action, Event, RequestBody, RequestHeaders, ResponseHeaders
from extproc.gateway.exchange import Exchange, job_of
from extproc.gateway.preparation import Prepare, Task, prepare_here
from extproc.gateway.settings import BodyTime, Settings
from extproc.policy.admit import AdmissionControl, InFlight, caller_id
from extproc.policy.authentication.authenticate import Authenticate
from extproc.policy.authorization.authorize import Authorize, AuthorizeModel, CheckBody
from extproc.policy.authorization.body import Bounds
from extproc.policy.authorization.rules import Rules
from extproc.policy.facts import Facts
from extproc.policy.keys.key_sets import KeySets
from extproc.policy.keys.remote_keys import RemoteKeys
from extproc.policy.route import CheckRequest, FindEndpoint, FindModel, ReadBody
from extproc.providers import credentials, model_paths, providers
from extproc.providers.providers import Catalogue
from extproc.sign_in import configuration as sign_in
from extproc.store import opening
from extproc.translate import models
from extproc.wire.paths import canonical

_UUID = re.compile(r"[0-9a-f]{32}")

Step = Callable[[Facts, float], Awaitable[Rejection | None]]


class ListModels:
    """Sets `facts.models` to what the caller may use: all that can be listed, or the one that is asked for, which may
    be a name that only a pattern fits."""

    def __init__(self, catalogue: Catalogue, authorize: AuthorizeModel) -> None:
        self._catalogue = catalogue
        self._authorize = authorize

    async def __call__(self, facts: Facts, now: float) -> Rejection | None:
        if facts.endpoint is not None and facts.endpoint.operation is Operation.LIST_MODELS:
            wanted = models.wanted(facts.path)
            names = [wanted] if wanted else self._catalogue.names()
            found = [resolved for name in names if (resolved := self._catalogue.resolve(name))]
            facts.models = tuple(resolved for resolved in found if self._authorize.permits(facts, resolved))
        return None


class PrepareHeavyBody:
    """Sets `facts.features` and `facts.prepared` of a heavy body."""

    def __init__(self, rules: Rules, bounds: Bounds, seconds: float, prepare: Prepare) -> None:
        self._rules = rules
        self._bounds = bounds
        self._seconds = seconds
        self._prepare = prepare

    async def __call__(self, facts: Facts, now: float) -> Rejection | None:
        if not facts.heavy:
            return None
        job = job_of(facts)
        job = msgspec.structs.replace(job, target=msgspec.structs.replace(job.target, raw=b""))
        task = Task(job, self._bounds, self._seconds, self._rules.read_body(facts, facts.resolved))
        done = await self._prepare(facts.raw_body, task, " ".join(caller_id(facts)))
        if done.features is None:
            return done.rejection
        facts.features, facts.prepared = done.features, done.outcome
        return None


class Gateway:
    """What a configuration makes; exchanges share nothing else."""

    def __init__(
        self,
        source: Source,
        environ: Mapping[str, str] | None = None,
        in_flight: InFlight | None = None,
        remote: KeySets[Any] | None = None,
        prepare: Prepare = prepare_here,
    ) -> None:
        """`remote`: where sets of keys that are fetched come from. `prepare`: who reads heavy bodies. Raises
        loading.Invalid with every fault at once."""
        faults: list[Fault] = []
        settings = source.config
        catalogue, self.providers, found = providers.load(source, os.environ if environ is None else environ)
        faults += [*found, *model_paths.faults(settings, self.providers)]
        self.rules = Rules(source, catalogue, faults)
        authorize_model = AuthorizeModel(self.rules)
        authenticate = Authenticate(source, faults, remote or RemoteKeys(), _claims_read(self.rules, settings))
        self.sign_in = sign_in.load(source, os.environ if environ is None else environ, faults)
        """The section `sign_in` with its secrets and rules; None where there is none."""
        faults += opening.faults(source, os.environ if environ is None else environ)
        trace = _trace(source, os.environ if environ is None else environ, faults)
        self.tls = processor_tls.load(source, faults)
        if faults:
            raise source.explain(faults)
        self.fetched = authenticate.fetched
        self.without_keys = authenticate.without_keys
        self.source = source
        self.catalogue = catalogue
        endpoints = Endpoints(settings.routes)
        self._settings = _settings(settings)
        self._admission = AdmissionControl(settings, in_flight or InFlight())
        limits = settings.limits.body
        bounds = Bounds(limits.tools, limits.turns, limits.parts, limits.values, limits.depth)
        self._steps: dict[type[Event], tuple[Step, ...]] = {
            RequestHeaders: (
                *([trace] if trace is not None else []),
                FindEndpoint(endpoints, self.providers),
                authenticate,
                Authorize(self.rules),
                CheckRequest(settings.max_body_bytes),
                ListModels(catalogue, authorize_model),
                self._admission,
            ),
            RequestBody: (
                self._admission.reserve_body,
                ReadBody(bounds),
                FindModel(catalogue),
                CheckBody(self.rules),
                PrepareHeavyBody(self.rules, bounds, limits.seconds, prepare),
                authorize_model,
            ),
        }

    def exchange(self, now: float) -> Exchange:
        return Exchange(Facts(started=now), self._settings)

    def ended(self, exchange: Exchange) -> None:
        """Called once, when nothing more will come."""
        self._admission.release(exchange.facts)

    def decides(self, event: Event) -> bool:
        """Policy has a say in it and may wait; any other event is for `go_on`."""
        return type(event) in self._steps

    async def handle(self, exchange: Exchange, event: Event, now: float) -> list[Action]:
        """`now`: Unix seconds. What to do about the event, in order. Raises exchange.OutOfOrder."""
        exchange.check(event)
        _note(exchange.facts, event)
        for step in self._steps.get(type(event), ()):
            if rejection := await step(exchange.facts, now):
                return [exchange.reject(rejection)]
        return self.go_on(exchange, event, now)

    def go_on(self, exchange: Exchange, event: Event, now: float) -> list[Action]:
        """What follows without asking policy. Raises exchange.OutOfOrder."""
        if isinstance(event, ResponseHeaders):
            self._admission.release_body(exchange.facts)
        return exchange.handle(event, now)


def _settings(config: Config) -> Settings:
    return Settings(
        config.streaming.first_event_hold,
        config.streaming.ping_interval,
        _claims(config),
        config.models_shape == "merged",
        BodyTime(config.limits.body_idle_seconds, config.limits.body_min_rate, config.max_body_bytes),
    )


def _trace(source: Source, environ: Mapping[str, str], faults: list[Fault]) -> Step | None:
    settings = source.config.tracing
    if settings is None:
        return None
    found = {
        name: credentials.load(source, secret, ("tracing", "headers", name), environ, faults)
        for name, secret in settings.headers.items()
    }
    try:
        from extproc.gateway.tracing import Trace
    except ImportError:
        faults.append(Fault(("tracing",), "needs an extra: pip install 'llm-extproc[traces]'"))
        return None
    return Trace(settings, {name: value.reveal() for name, value in found.items() if value is not None})


def _claims_read(rules: Rules, settings: Config) -> frozenset[str] | None:
    """Names of the claims that rules, records or metrics read. None: they may read any."""
    named = rules.claims()
    return None if named is None else named.union(_claims(settings))


def _claims(settings: Config) -> list[str]:
    labels = settings.metrics.claims if settings.metrics is not None else []
    return list(dict.fromkeys([*settings.records.claims, *labels]))


def load(  # noqa: PLR0913 - named, and all but one have a default
    path: Path,
    environ: Mapping[str, str] | None = None,
    *,
    files: Files | None = None,
    in_flight: InFlight | None = None,
    remote: KeySets[Any] | None = None,
    prepare: Prepare = prepare_here,
) -> Gateway:
    """Raises loading.Invalid, with faults of form and of meaning at once as far as the former let the latter be seen.
    `files`: where contents come from, and who knows afterwards which files matter, also if there was a fault.
    `in_flight`, `remote`: the calls and the fetched keys of the process, shared by all its gateways. `prepare`: who
    reads heavy bodies."""
    try:
        return Gateway(loading.load(path, environ, files), environ, in_flight, remote, prepare)
    except Invalid as error:
        if error.rest is None:
            raise
        raise Invalid([*error.lines, *_also(error.rest, environ, error.lines)]) from None


def _also(rest: Source, environ: Mapping[str, str] | None, known: list[str]) -> list[str]:
    try:
        Gateway(rest, environ)
    except Invalid as error:
        return [line for line in error.lines if line not in known]
    return []


def _note(facts: Facts, event: Event) -> None:
    match event:
        case RequestHeaders(headers, _, source):
            facts.headers = headers
            facts.source = source.rpartition(":")[0].strip("[]")
            facts.method = headers.get(":method")
            path, _, facts.query = headers.get(":path").partition("?")
            facts.path = canonical(path)
            facts.request_id = _request_id(headers.get("x-request-id"))
        case RequestBody(body):
            facts.raw_body, facts.body_arrived = body, True
        case _:
            pass


def _request_id(given: str) -> str:
    """Looks like Anthropic's, and Envoy's can be told by it. Another Envoy may let clients choose theirs or give none
    at all, and then it would not be unique."""
    found = given.replace("-", "")
    return "req_" + (found if _UUID.fullmatch(found) else uuid.uuid4().hex)[:24]
