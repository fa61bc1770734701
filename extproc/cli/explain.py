"""`extproc check --token T`: what the gateway says to a call and why, by the code that says it.

No network but for issuers' keys that are fetched.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from extproc.cli.arguments import TOKEN_VARIABLE
from extproc.config import loading
from extproc.config.endpoints import Endpoints
from extproc.config.faults import Fault
from extproc.config.files import Files
from extproc.config.schema_models import Ruled
from extproc.errors import Kind, Reason, Rejection
from extproc.events import Action, AwaitBody, Headers, RequestBody, RequestHeaders, Respond
from extproc.gateway import dry_run
from extproc.gateway.gateway import Gateway
from extproc.policy.authentication import tokens
from extproc.policy.authentication.credential import placed
from extproc.policy.authorization.cel import Part
from extproc.policy.authorization.rules import RuleSet, Seen
from extproc.policy.authorization.variables import OF_BODY, VARIABLES
from extproc.policy.facts import Admitted, Caller, Examined, Identified, LightBody, Located
from extproc.policy.keys.remote_keys import FetchedKeySets
from extproc.printable import printable, show
from extproc.providers import credentials, model_paths, prices
from extproc.providers.catalogue import Resolved
from extproc.supervisor.lines import IN_PLAINTEXT
from extproc.web import topics
from extproc.wire import Dialect, dialects, untrusted
from extproc.wire.paths import routed

# Envoy's own verdict, which no step of the gateway's comes to.
_TOO_LARGE = Rejection(
    kind=Kind.TOO_LARGE, message="the request is too large", reason=Reason.REQUEST_TOO_LARGE, detail="max_body_bytes"
)


class Unusable(Exception):
    """`str()` says what is missing or wrong."""


@dataclass(frozen=True)
class Asked:
    token: str
    model: str | None
    path: str | None
    """Also with a method in front."""
    body: Path | None
    source: str | None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names; `:authority` is the host."""


def token(given: str | None) -> str:
    """`@FILE` and `-` (standard input) keep it out of the list of processes. Raises Unusable."""
    if given is None:
        return os.environ.get(TOKEN_VARIABLE, "").strip()
    if given == "-":
        return sys.stdin.read().strip()
    return _read(Path(given[1:])).strip() if given.startswith("@") else given


def header(given: str) -> tuple[str, str]:
    """`name: value`. Raises Unusable."""
    name, colon, value = given.partition(":")
    if not colon or not name.strip():
        raise Unusable(f"{given!r} is not NAME:VALUE")
    name = name.strip().lower()
    return ":authority" if name == "host" else name, value.strip()


def remarks(gateway: Gateway) -> Iterator[str]:
    """Points that are valid but easily overlooked, one line each."""
    settings = gateway.source.config
    endpoints = Endpoints(settings.routes)
    for index, route in enumerate(settings.routes):
        ruled = any("request.operation" in rule for rule in _rules_of(settings.authorization, route))
        paths = [] if route.serve != "passthrough" or ruled else model_paths.unruled(endpoints, index)
        if paths:
            yield (
                f"{gateway.source.place(('routes', index))}: routes.{index} passes calls to {route.provider} through:"
                f" rules of models do not apply to {', '.join(paths)}; a rule on request.operation can refuse them"
            )
    for index, paths in topics.shadowed(settings).items():
        where = gateway.source.place(("routes", index, "path"))
        yield f"{where}: routes.{index}.path: the gateway itself answers {', '.join(paths)}; this route never gets them"
    for place, text in prices.unpriced(gateway.catalogue, gateway.prices):
        yield f"{gateway.source.place(place)}: {'.'.join(map(str, place))}: {text}"
    if settings.processor.insecure:
        where = gateway.source.place(("processor", "insecure"))
        yield f"{where}: processor.insecure: plaintext is spoken on TCP: {IN_PLAINTEXT}"


def not_at_envoy_gateway(gateway: Gateway) -> list[Fault]:
    """Returns what cannot be had with Envoy Gateway, whose policies have no place for filters of a provider."""
    problem = "Envoy Gateway's policies have no filters for one provider's calls, so no call can move on to the next"
    return [
        Fault(("models", rule.index, "providers"), problem) for rule in gateway.catalogue.rules if rule.pool is not None
    ]


def _rules_of(*ruled: Ruled) -> Iterator[str]:
    for one in ruled:
        yield from (*one.allow, *one.deny, *one.require)


def without_keys(path: Path) -> tuple[dict[str, str], Files]:
    """An environment and files in which no provider's key is missing: a decision needs none."""
    try:
        source = loading.load(path)
    except loading.Invalid:  # and gateway.load will say why
        return dict(os.environ), Files()
    secrets = list(credentials.of_providers(source))
    secrets += list(source.config.tracing.headers.values()) if source.config.tracing else []
    missing = {secret.env: credentials.WITHHELD for secret in secrets if secret.env and not os.environ.get(secret.env)}
    files, place = [source.resolve(secret.file) for secret in secrets if secret.file], credentials.WITHHELD.encode()
    return {**os.environ, **missing}, Files({file: place for file in files if not _readable(file)})


def _readable(file: Path) -> bool:
    try:
        return bool(file.read_bytes().strip())
    except OSError:
        return False


def run(gateway: Gateway, remote: FetchedKeySets, asked: Asked) -> int:
    """Prints caller, variables of a given body, rules and verdict. `remote`: that of the gateway. Returns 1 when the
    call would be refused. Raises Unusable."""
    call, raw, action = asyncio.run(_call(gateway, remote, asked))
    show(printable(f"{call.request.method} {call.request.path}"))
    if not isinstance(call, Identified):
        error = action.record["error"] if isinstance(action, Respond) else ""
        show(f"token    not accepted: {error}")
        return _verdict(action)
    subject = dry_run.subject_of(gateway, call, raw)
    # A rule may have several lines; a name may not, or it could pose as a verdict.
    lines = [*map(printable, _caller(call.caller, asked.token)), *map(printable, _model(subject.model))]
    seen = gateway.rules.seen(subject)
    if asked.body is not None and subject.model is not None:
        lines += map(printable, _variables(seen))
    for rules in gateway.rules.sets(call, subject.model):
        lines += _rules(gateway, rules, seen)
    if isinstance(call, Admitted) and subject.model is not None and isinstance(subject.body, LightBody):
        examined = Examined(call, subject.body, subject.model.name, subject.model)
        lines += map(printable, _candidates(gateway, examined))
    show("\n".join(lines))
    return _verdict(action)


def _candidates(gateway: Gateway, examined: Examined) -> Iterator[str]:
    """Which of a model's providers would be asked, in which order, and why."""
    found = dry_run.candidates(gateway, examined)
    if found is None:
        return
    yield f"chosen   {found.key} ({found.place})"
    planned = found.planned
    if isinstance(planned, Rejection):
        return
    for n, one in enumerate(planned.candidates, 1):
        yield f"asked {n:<2} {one.provider.name}: {one.upstream}"
    for one in planned.waiting:
        yield f"left out {one.provider.name}: {one.upstream}"
    for one in planned.refused:
        yield f"skipped  {one.provider.name}: {one.upstream}, which this caller may not use"


async def _call(gateway: Gateway, remote: FetchedKeySets, asked: Asked) -> tuple[Located, bytes, Action]:
    """The call as the server would see it, its body, and the last thing that is done about it."""
    await asyncio.gather(*(remote.at(plan).refresh_keys() for plan in gateway.fetched))
    now = time.time()
    method, path = _where(asked.path)
    fields = {":method": method, ":path": routed(path), ":authority": "localhost", "content-type": "application/json"}
    fields |= asked.headers
    if asked.token:
        fields |= [placed(asked.token, gateway.source.config.authentication.locations[0])]
    exchange = gateway.exchange(now)
    headers = RequestHeaders(Headers(fields.items()), end=False, source=f"{asked.source}:0" if asked.source else "")
    [action] = await gateway.handle(exchange, headers, now)
    raw = _body(asked, exchange.call.dialect)
    if isinstance(action, AwaitBody) and len(raw) > gateway.source.config.max_body_bytes:
        action = exchange.reject(_TOO_LARGE)
    elif isinstance(action, AwaitBody):
        [action] = await gateway.handle(exchange, RequestBody(raw), now)
    return exchange.call, raw, action


def _where(path: str | None) -> tuple[str, str]:
    method, _, rest = (path or dialects.row(dialects.DEFAULT).path).rpartition(" ")
    return method.upper() or ("GET" if dialects.LIST_PATH in rest else "POST"), rest


def _body(asked: Asked, dialect: Dialect) -> bytes:
    least = dialects.row(dialect).example
    text = "" if asked.body is None else _read(asked.body)
    try:
        body = least if asked.body is None else untrusted.decode(text)
    except msgspec.DecodeError as error:
        raise Unusable(f"{asked.body} is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise Unusable(f"{asked.body} is not a JSON object")
    if asked.model is None and asked.body is not None:
        return text.encode()  # its size counts
    return msgspec.json.encode(body if asked.model is None else {**body, "model": asked.model})


def _caller(caller: Caller, token: str) -> Iterator[str]:
    proven = caller.kind != "anonymous"
    remark = "; the token is not accepted" if token and not proven else ""
    yield f"caller   {caller.kind} {caller.subject}".rstrip() + remark
    # A caller keeps only the claims that are read.
    claims = tokens.claims(tokens.parse(token)) if token and caller.kind == "jwt" else caller.claims
    for name, value in claims.items():
        yield f"claim    {name}: {json.dumps(value, ensure_ascii=False)}"


def _model(model: Resolved | None) -> Iterator[str]:
    if model is not None:
        several = "one of several providers" if model.rule.pool is not None else ""
        yield f"model    {model.name}: {several or f'{model.upstream} of {model.provider.name}'}"


def _variables(seen: Seen) -> Iterator[str]:
    """The values of variables that a body decides."""
    known = seen.values(Part.LLM) | seen.values(Part.AGENT)
    for name in (one.name for one in VARIABLES if one.part in OF_BODY):
        yield f"body     {name}: {json.dumps(known[name], ensure_ascii=False) if name in known else 'not known'}"


def _rules(gateway: Gateway, rules: RuleSet, seen: Seen) -> Iterator[str]:
    for one in dry_run.rule_answers(gateway, rules, seen):
        yield f"{one.value:<8} {one.text}   ({one.key}, {one.place})"
        if one.why:
            yield " " * 9 + one.why


def _verdict(action: Action) -> int:
    if not isinstance(action, Respond) or action.status < 400:
        show("allowed" + _listed(action))
        return 0
    error = json.loads(action.body).get("error")
    message = error["message"] if isinstance(error, dict) and "message" in error else action.body.decode()
    why = f"({action.record['reason']}, {action.record['error']})"
    show(printable(f"refused  {action.status}: {message}   {why}"))
    return 1


def _listed(action: Action) -> str:
    answer = json.loads(action.body) if isinstance(action, Respond) and action.body else {}
    return "".join(f"\n         {printable(entry['id'])}" for entry in answer.get("data", ()))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{path}: {getattr(error, 'strerror', None) or 'is not UTF-8 text'}") from None
