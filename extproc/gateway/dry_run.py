"""What the gateway would do with a call, by the code that does it. Nothing is sent, reserved of budgets, or logged."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from extproc.config.endpoints import READS_BODY, Operation
from extproc.config.faults import Where
from extproc.errors import Rejection
from extproc.events import Headers, RequestBody, RequestHeaders
from extproc.gateway.gateway import Gateway
from extproc.policy.authorization.rules import RuleSet, Seen
from extproc.policy.authorization.variables import AT_HEADERS, OF_BODY, Subject
from extproc.policy.budgets.budgets import Applied
from extproc.policy.facts import Caller, Examined, Identified, LightBody, Located, Planned
from extproc.wire import Dialect, dialects, untrusted

_UNBOUND = re.compile(r'.*No value with name "(.*)" found.*')


class RuleAnswer(NamedTuple):
    """What a rule says of a call."""

    text: str
    """The expression, which may have several lines."""
    key: str
    """Its key in `gateway.yaml`."""
    place: str
    """File and line."""
    value: str
    """`true`, `false`, `fails`, or `later` in a list of models."""
    why: str
    """Why it fails or is evaluated later."""


class Candidates(NamedTuple):
    """Which of a model's several providers would be asked."""

    key: str
    """The key in `gateway.yaml` of the list that was chosen."""
    place: str
    planned: Planned | Rejection


class Decision(NamedTuple):
    call: Located
    """The stage that the call has reached at its headers."""
    subject: Subject | None
    """The call as rules see it; None where nobody knows its caller."""
    outcome: Examined | Planned | Rejection
    budgets: tuple[Applied, ...] = ()
    """The limits that apply to it."""


class HypotheticalCall(NamedTuple):
    dialect: Dialect
    body: bytes
    caller: Caller | None
    """None: there is no credential."""
    source: str = ""
    """The client's address."""


async def decide(gateway: Gateway, asked: HypotheticalCall, now: float) -> Decision:
    """Returns what would become of a call. `now`: Unix seconds."""
    fields = {":method": "POST", ":path": dialects.row(asked.dialect).path, ":authority": "localhost"}
    fields["content-type"] = "application/json"
    event = RequestHeaders(Headers(fields.items()), end=False, source=f"{asked.source}:0" if asked.source else "")
    exchange = gateway.exchange(now)
    try:
        accepted = await gateway.at_headers(exchange, event, now, asked.caller)
        body = RequestBody(asked.body)
        found = accepted if isinstance(accepted, Rejection) else await gateway.at_body(exchange, body, now)
    finally:
        gateway.ended(exchange)
    call = exchange.call
    subject = subject_of(gateway, call, asked.body) if isinstance(call, Identified) else None
    if isinstance(found, Rejection):
        return Decision(call, subject, found)
    budgets = gateway.budgets.applied(found)
    if isinstance(budgets, Rejection):
        return Decision(call, subject, budgets)
    return Decision(call, subject, found, tuple(budgets))


def subject_of(gateway: Gateway, call: Identified, raw: bytes) -> Subject:
    """Returns the call as rules see it, with the body that they would see, had it come to that."""
    endpoint = call.endpoint
    if endpoint is None or endpoint.operation not in READS_BODY:
        return Subject(call)
    if endpoint.cloud is not None and not isinstance(opened := endpoint.cloud.open(raw), Rejection):
        raw = gateway.open_body.written(opened)
    try:
        members = untrusted.decode(raw)
    except (ValueError, RecursionError):
        return Subject(call)
    if not isinstance(members, dict):
        return Subject(call)
    body = LightBody(raw, members)
    name = members.get("model", "")
    model = gateway.catalogue.resolve(name, endpoint.provider) if isinstance(name, str) else None
    return Subject(call, model, body)


def rule_answers(gateway: Gateway, rules: RuleSet, seen: Seen) -> Iterator[RuleAnswer]:
    """Evaluates every rule of a set, also those that the gateway would not have come to."""
    endpoint = seen.subject.call.endpoint
    listing = endpoint is not None and endpoint.operation is Operation.LIST_MODELS
    for rule in rules.rules:
        if listing and not rule.reads <= AT_HEADERS:
            value, why = "later", "left out of lists" if rule.reads & OF_BODY else "asked of each model"
        else:
            answer = rule.answer(seen.activation(rule.reads))
            value, why = (str(answer).lower(), "") if isinstance(answer, bool) else ("fails", answer)
        key, place = ".".join(map(str, rule.where)), gateway.source.place(rule.where)
        yield RuleAnswer(rule.text, key, place, value, _UNBOUND.sub(r"\1 is not known here", why))


def candidates(gateway: Gateway, examined: Examined) -> Candidates | None:
    """None: the model has one provider."""
    rule = examined.resolved.rule
    if rule.pool is None:
        return None
    number = gateway.rules.chosen(Subject(examined.call, examined.resolved, examined.body), examined.resolved)
    where: Where = ("models", rule.index, *(("choose", number - 1) if number else ("providers",)))
    planned = gateway.plan(examined, examined.call.request.started)
    return Candidates(".".join(map(str, where)), gateway.source.place(where), planned)
