"""The steps of a call in their order: policy for each event, then the exchange."""

import os
import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from extproc.config import loading, processor_tls
from extproc.config.endpoints import READS_BODY, Endpoints, Operation
from extproc.config.faults import Fault
from extproc.config.files import Files
from extproc.config.loading import Invalid, Source
from extproc.config.schema import Config
from extproc.config.schema_usage import logged_claims
from extproc.errors import Rejection
from extproc.events import Action, Event, Judged, Record, RequestBody, RequestHeaders, ResponseHeaders
from extproc.gateway.attempt_steps import Attempts
from extproc.gateway.exchange import Exchange
from extproc.gateway.model_choice import ChooseModel, examined_of
from extproc.gateway.preparation import Examine, Prepare, prepare_here
from extproc.gateway.settings import BodyTime, Settings
from extproc.gateway.verdicts import Verdicts
from extproc.policy.admit import AdmissionControl, InFlight
from extproc.policy.authentication import credential
from extproc.policy.authentication.authenticate import Authenticate
from extproc.policy.authorization.body import Bounds
from extproc.policy.authorization.rules import Authorize, AuthorizeModel, Rules
from extproc.policy.auto_mode import AutoMode, check_judge
from extproc.policy.budgets import administration
from extproc.policy.budgets.budgets import Budgets
from extproc.policy.budgets.wallet import Wallet
from extproc.policy.candidates import PlanAttempts
from extproc.policy.facts import Accepted, Admitted, Caller, Examined, Listing, Located, Planned, Request, ToProvider
from extproc.policy.keys.key_sets import KeySets
from extproc.policy.keys.remote_keys import FetchedKeySets
from extproc.policy.route import CheckRequest, FindEndpoint, FindModel, OpenBody, ReadBody
from extproc.providers import collectors, credentials, model_paths, prices
from extproc.providers.availability import Availability
from extproc.providers.catalogue import Catalogue, Resolved
from extproc.providers.cloud_credentials import CredentialSpec
from extproc.providers.loading import load_catalogue
from extproc.providers.prices import Prices
from extproc.sign_in import configuration as sign_in
from extproc.sign_in import console_access
from extproc.sign_in.managed_settings import ManagedSettings
from extproc.store import opening
from extproc.translate import model_lists
from extproc.usage import opening as usage
from extproc.wire.cloud_api import names_of
from extproc.wire.paths import canonical

if TYPE_CHECKING:
    from extproc.gateway.judge import Judge
    from extproc.gateway.tracing import Trace

GATEWAY_SOCKET = "EXTPROC_GATEWAY_SOCKET"
"""The variable that tells a worker where Envoy accepts the gateway's own calls."""
_UUID = re.compile(r"[0-9a-f]{32}")


class ListModels:
    """Finds the models that the caller may use: all that can be listed, or the one that is asked for, which may be a
    name that only a pattern fits."""

    def __init__(self, catalogue: Catalogue, authorize: AuthorizeModel) -> None:
        self._catalogue = catalogue
        self._authorize = authorize

    def __call__(self, call: Accepted) -> Listing:
        cloud = call.endpoint.cloud
        wanted = cloud.model if cloud is not None else model_lists.wanted(call.request.path)
        if cloud is not None and wanted:
            wanted = self._catalogue.first_known(names_of(wanted)) or wanted
        names = [wanted] if wanted else self._catalogue.names()
        found = [resolved for name in names if (resolved := self._catalogue.resolve(name))]
        return Listing(
            request=call.request,
            dialect=call.dialect,
            endpoint=call.endpoint,
            provider=call.provider,
            caller=call.caller,
            models=tuple(resolved for resolved in found if self._may_use(call, resolved)),
        )

    def _may_use(self, call: Accepted, model: Resolved) -> bool:
        return any(self._authorize.permits(call, one) for one in self._catalogue.candidates(model))


class Gateway:
    """What a configuration makes; exchanges share nothing else."""

    def __init__(  # noqa: PLR0913 - all but one have a default
        self,
        source: Source,
        environ: Mapping[str, str] | None = None,
        in_flight: InFlight | None = None,
        remote: KeySets[Any] | None = None,
        prepare: Prepare = prepare_here,
        *,
        availability: Availability | None = None,
        wallet: Wallet | None = None,
    ) -> None:
        """`remote`: where sets of keys and credentials that are fetched come from. `prepare`: who reads heavy bodies.
        `availability`: which providers are left out at the moment. `wallet`: what this worker may use of budgets.
        Raises loading.Invalid with every fault at once."""
        faults: list[Fault] = []
        settings, environ = source.config, os.environ if environ is None else environ
        remote = remote or FetchedKeySets()
        catalogue, self.providers, found = load_catalogue(source, environ, remote.credentials)
        faults += [*found, *model_paths.faults(settings, self.providers), *prices.faults(settings)]
        self.rules = Rules(source, catalogue, faults)
        self.in_flight, self.availability = in_flight or InFlight(), availability or Availability()
        self.plan = PlanAttempts(source, catalogue, self.rules, self.availability, faults)
        self._authorize_model = AuthorizeModel(self.rules)
        self._auto_mode = _auto_mode(source, catalogue, faults)
        self.prices = Prices(settings.prices.overrides)
        self.budgets = Budgets(source, catalogue, self.rules, self.prices, wallet=wallet or Wallet(), faults=faults)
        faults += administration.faults(source)
        claims = _claims_read(settings, self.rules, self.plan, self.budgets, self._auto_mode)
        self._authenticate = Authenticate(source, faults, remote, claims)
        self.sign_in = sign_in.load(source, environ, faults)
        """The section `sign_in` with its secrets and rules; None where there is none."""
        self.managed_settings = ManagedSettings(source, faults)
        self.collectors = collectors.load(source, environ, faults)
        faults += [*opening.faults(source, environ), *usage.faults(source, environ), *console_access.faults(source)]
        self._trace = _trace(source, environ, faults)
        self.tls = processor_tls.load(source, faults)
        if faults:
            raise source.explain(faults)
        self.fetched, self.without_keys = self._authenticate.fetched, self._authenticate.without_keys
        self.source, self.catalogue = source, catalogue
        self._settings, self._judge = _settings(settings, self.prices), _judge(settings, environ)
        # The steps, in their order: at the headers, at the body.
        self._find_endpoint = FindEndpoint(Endpoints(settings.routes, bool(settings.budgets)), self.providers)
        self._authorize = Authorize(self.rules)
        self._check_request = CheckRequest(settings.max_body_bytes)
        self._list_models = ListModels(catalogue, self._authorize_model)
        self._admit = AdmissionControl(settings, self.in_flight)
        self.open_body = OpenBody(catalogue)
        self._read_body, self._find_model = ReadBody(_bounds(settings)), FindModel(catalogue)
        examine = Examine(self.rules.read_body, _bounds(settings), settings.limits.body.seconds, prepare)
        steps = examine, self._authorize_model, self.plan, self.budgets
        self._choose_model = ChooseModel(catalogue, *steps, judge=_judge_model(settings))
        self.attempts = Attempts(catalogue, self._settings, examine, self.availability.report)

    @property
    def number(self) -> int:
        """The configuration's, where several follow each other."""
        return self.attempts.number

    @number.setter
    def number(self, number: int) -> None:
        self.attempts.number = number

    def usable_models(self, call: Accepted) -> Sequence[Resolved]:
        """The models that can be listed and that the caller may use, as far as can be said without a body."""
        return self._list_models(call).models if self._authorize(call) is None else ()

    @property
    def credentials(self) -> list[CredentialSpec]:
        """Credentials of clouds that the supervisor fetches."""
        found = (one.access.fetched for one in self.providers.values() if one.access is not None)
        return [spec for spec in found if spec is not None]

    def exchange(self, now: float) -> Exchange:
        return Exchange(Request(started=now), self._settings, self._auto_mode, self.availability.report)

    def ended(self, exchange: Exchange, seen: Record | None = None) -> None:
        """Called once, when nothing more will come. `seen`: all that was put on record of the call."""
        if exchange.reservation is not None:
            exchange.reservation.settle(seen or {})
        if isinstance(exchange.call, Admitted):
            exchange.call.admission.release()

    def decides(self, event: Event) -> bool:
        """Policy has a say in it and may wait; any other event is for `go_on`."""
        return isinstance(event, RequestHeaders | RequestBody)

    async def handle(self, exchange: Exchange, event: Event, now: float) -> list[Action]:
        """`now`: Unix seconds. What to do about the event, in order. Raises exchange.OutOfOrder."""
        exchange.check(event)
        match event:
            case RequestHeaders():
                accepted = await self.at_headers(exchange, event, now)
                if isinstance(accepted, Rejection):
                    return [exchange.reject(accepted)]
                if isinstance(accepted, ToProvider):
                    passed = await self.budgets.reserve_passed(accepted, now)
                    if isinstance(passed, Rejection):
                        return [exchange.reject(passed)]
                    exchange.reservation = passed
                action = exchange.accept(accepted, now, end=event.end)
            case RequestBody():
                found = await self.at_body(exchange, event, now)
                chosen = found if isinstance(found, Rejection) else await self._choose_model.reserved(found, now)
                if isinstance(chosen, Rejection):
                    return [exchange.reject(chosen)]
                asked, exchange.reservation = chosen
                exchange.reach_body(examined_of(asked))
                action = exchange.send(asked, now, self.number)
            case _:
                return self.go_on(exchange, event, now)
        return [action if exchange.reservation is None else exchange.reservation.on_record(action)]

    async def judge(self, call: Located, verdicts: Verdicts | None) -> Judged:
        """What the judge says of the calls that `verdicts` holds open."""
        if self._judge is None or verdicts is None:
            return Judged({})
        return Judged(await self._judge(call.request, verdicts.question, verdicts.open))

    def go_on(self, exchange: Exchange, event: Event, now: float) -> list[Action]:
        """What follows without asking policy. Raises exchange.OutOfOrder."""
        if isinstance(event, ResponseHeaders) and isinstance(exchange.call, Admitted):
            exchange.call.admission.release_body()
        actions = exchange.handle(event, now)
        if exchange.reservation is not None:
            exchange.reservation.add_headers(actions, now)
        return actions

    async def at_headers(
        self, exchange: Exchange, event: RequestHeaders, now: float, caller: Caller | None = None
    ) -> Accepted | Rejection:
        """Policy for the request's headers, step by step; what is refused here is never buffered. `caller`: absent: as
        the credential proves."""
        request = _request(event, exchange.call.request.started)
        exchange.reach(Located(request=request))
        if self._trace is not None:
            span = self._trace.begin(request.headers, request.started)
            request = msgspec.structs.replace(request, span=span)
        located = exchange.reach(self._find_endpoint(request))
        identified = await self._authenticate(located, now) if caller is None else located.of(caller)
        if isinstance(identified, Rejection):
            return identified
        exchange.reach(identified)
        if refused := self._authorize(identified):
            return refused
        accepted = self._check_request(identified)
        if isinstance(accepted, Rejection):
            return accepted
        operation = accepted.endpoint.operation
        if operation is Operation.LIST_MODELS:
            return exchange.reach(self._list_models(accepted))
        if operation is Operation.SHOW_USAGE:
            return await self.budgets.show(accepted, now)
        admitted = self._admit(accepted) if operation in READS_BODY else accepted
        return admitted if isinstance(admitted, Rejection) else exchange.reach(admitted)

    async def at_body(self, exchange: Exchange, event: RequestBody, now: float) -> Examined | Planned | Rejection:
        """Policy for the body, step by step, once it is here. `now`: Unix seconds."""
        call = exchange.body_arrived()
        if refused := call.admission.reserve_body(len(event.body)):
            return refused
        opened = self.open_body(call, event.body)
        if isinstance(opened, Rejection):
            return opened
        read = self._read_body(*opened)
        if isinstance(read, Rejection):
            return read
        exchange.reach_body(read)
        found = self._find_model(read)
        if isinstance(found, Rejection):
            return found
        exchange.reach_body(found)
        return await self._choose_model.authorized(found, now)


def _bounds(config: Config) -> Bounds:
    limits = config.limits.body
    return Bounds(limits.tools, limits.turns, limits.parts, limits.values, limits.depth)


def _settings(config: Config, known: Prices) -> Settings:
    return Settings(
        config.streaming.first_event_hold,
        config.streaming.ping_interval,
        _claims(config),
        config.models_shape == "merged",
        config.records.provider_header,
        BodyTime(config.limits.body_idle_seconds, config.limits.body_min_rate, config.max_body_bytes),
        known,
    )


def _trace(source: Source, environ: Mapping[str, str], faults: list[Fault]) -> "Trace | None":
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


def _auto_mode(source: Source, catalogue: Catalogue, faults: list[Fault]) -> AutoMode | None:
    settings = source.config.auto_mode
    if settings is None:
        return None
    if settings.judge is not None:
        check_judge(settings.judge, catalogue, faults)
    return AutoMode(settings, faults)


def _judge_model(settings: Config) -> str:
    """Empty: there is none."""
    return settings.auto_mode.judge.model if settings.auto_mode and settings.auto_mode.judge else ""


def _judge(settings: Config, environ: Mapping[str, str]) -> "Judge | None":
    if settings.auto_mode is None or settings.auto_mode.judge is None:
        return None
    from extproc.gateway.judge import Judge

    hidden = credential.headers(settings.authentication.locations)
    return Judge(settings.auto_mode.judge, environ.get(GATEWAY_SOCKET), hidden)


def _claims_read(
    settings: Config, rules: Rules, plan: PlanAttempts, budgets: Budgets, auto_mode: AutoMode | None
) -> frozenset[str] | None:
    """Names of the claims that rules, budgets, records or metrics read. None: they may read any."""
    found = [part.claims() for part in (rules, plan, budgets, auto_mode) if part is not None]
    known = [names for names in found if names is not None]
    return frozenset(_claims(settings)).union(*known) if len(known) == len(found) else None


def _claims(settings: Config) -> list[str]:
    labels = settings.metrics.claims if settings.metrics is not None else []
    return list(dict.fromkeys([*logged_claims(settings.records.claims, settings.usage), *labels]))


def load(  # noqa: PLR0913 - named, and all but one have a default
    path: Path,
    environ: Mapping[str, str] | None = None,
    *,
    files: Files | None = None,
    in_flight: InFlight | None = None,
    remote: KeySets[Any] | None = None,
    prepare: Prepare = prepare_here,
    availability: Availability | None = None,
    wallet: Wallet | None = None,
) -> Gateway:
    """Raises loading.Invalid, with faults of form and of meaning at once as far as the former let the latter be seen.
    `files`: where contents come from, and who knows afterwards which files matter, also if there was a fault.
    `in_flight`, `remote`, `availability`, `wallet`: the calls, the fetched keys, the providers that are left out and
    the shares of budgets, of the process and shared by all its gateways. `prepare`: who reads heavy bodies."""
    try:
        return Gateway(
            loading.load(path, environ, files),
            environ,
            in_flight,
            remote,
            prepare,
            availability=availability,
            wallet=wallet,
        )
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


def _request(event: RequestHeaders, started: float) -> Request:
    headers = event.headers
    path, _, query = headers.get(":path").partition("?")
    return Request(
        started=started,
        method=headers.get(":method"),
        path=canonical(path),
        query=query,
        headers=headers,
        source=event.source.rpartition(":")[0].strip("[]"),  # Envoy's has a port, and IPv6 in brackets
        certificate=event.certificate,
        request_id=_request_id(headers.get("x-request-id")),
    )


def _request_id(given: str) -> str:
    """Looks like Anthropic's, and Envoy's can be told by it. Another Envoy may let clients choose theirs or give none
    at all, and then it would not be unique."""
    found = given.replace("-", "")
    return "req_" + (found if _UUID.fullmatch(found) else uuid.uuid4().hex)[:24]
