"""The playground: what the gateway would do with a request. Nothing is sent, and nothing is kept or logged of it."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from extproc.config.endpoints import Endpoint, Operation
from extproc.errors import Rejection
from extproc.gateway import dry_run
from extproc.gateway.dry_run import Decision, HypotheticalCall
from extproc.gateway.gateway import Gateway
from extproc.gateway.preparation import job_of
from extproc.policy.budgets.limits import SEPARATOR, scale_of
from extproc.policy.facts import Accepted, Caller, Examined, Identified, LightBody, Planned, Request
from extproc.printable import printable, printable_json, printable_lines
from extproc.providers.catalogue import Resolved
from extproc.providers.model_settings import ModelSettings
from extproc.translate.job import request_for
from extproc.translate.pair import RequestOutcome, Translated
from extproc.web.console import layout, numbers, state_pages
from extproc.web.console.tables import Column, Table, html
from extproc.web.console.view import Visitor
from extproc.wire import Dialect, dialects, untrusted
from extproc.wire.rejections import rejection_status

PATH = "/console/playground"
MAX_BODY = 64 * 1024
MAX_CLAIMS = 16 * 1024
MAX_DEPTH = 100
"""How many arrays and objects may be nested in each other."""
MAX_SHOWN = 256 * 1024
"""Characters of a request to a provider: indented, a body of 64 KiB could become many megabytes."""
_LEAD = (
    "See what the gateway would do with a request: whether the rules allow it, which provider would get it, and in"
    " which form. Nothing is sent, and nothing is kept."
)


_HOW_RULES_COUNT = (
    "No rule of deny may be true, all of require must be, and one of allow, if there are any. A rule that fails counts"
    " against the caller."
)


class Entered(NamedTuple):
    """What is in the form."""

    dialect: Dialect
    model: str
    """Instead of the body's; empty: the body's own."""
    claims: str
    body: str


class Mistake(Exception):
    """`str()` says what cannot be used, `field` which field of the form it is in."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


def models(gateway: Gateway, visitor: Visitor, source: str, now: float) -> list[str]:
    """Returns the names that `GET /v1/models` would list for the visitor; for operators, all that can be listed.
    `source`: the visitor's address; `now`: Unix seconds."""
    if visitor.sees_all:
        return gateway.catalogue.names()
    if visitor.caller is None:
        return []
    request = Request(started=now, method="GET", path="/v1/models", source=source)
    endpoint = Endpoint("models", Operation.LIST_MODELS, None, "GET")
    call = Accepted(request=request, endpoint=endpoint, caller=visitor.caller)
    return [one.name for one in gateway.usable_models(call)]


def example(gateway: Gateway, visitor: Visitor, query: Mapping[str, str], names: Sequence[str]) -> Entered:
    """Returns what the form has at first: a small request of a dialect, for a model of the query or the first one.
    `names`: as `models`."""
    dialect = _dialect(query.get("dialect", ""))
    if visitor.sees_all:
        names = [*names, *(rule.settings.name.replace("*", "x") for rule in gateway.catalogue.rules)]
    model = query.get("model", "")[:200] or next(filter(None, names), "MODEL")
    body = {"model": model, **dialects.row(dialect).example}
    claims = dict(visitor.caller.claims) if visitor.caller is not None else {"sub": "somebody"}
    return Entered(dialect, "", _pretty(claims), _pretty(body))


def entered(form: Mapping[str, str]) -> Entered:
    return Entered(
        _dialect(form.get("dialect", "")),
        form.get("model", "").strip()[:200],
        form.get("claims", ""),
        form.get("body", ""),
    )


def _dialect(name: str) -> Dialect:
    return name if name in dialects.names() else dialects.DEFAULT


async def results(gateway: Gateway, visitor: Visitor, given: Entered, source: str, now: float) -> list[str]:
    """Returns the sections below the form. `source`: the visitor's address; `now`: Unix seconds. Raises Mistake."""
    asked = HypotheticalCall(given.dialect, _body(given), _caller(visitor, given), source)
    decision = await dry_run.decide(gateway, asked, now)
    sections = [_verdict(decision, sees_all=visitor.sees_all)]
    if visitor.sees_all:
        sections += _rules(gateway, decision)
    if not isinstance(decision.outcome, Rejection):
        examined, resolved = _examined(decision.outcome)
        sections += _providers(gateway, decision.outcome, now, sees_all=visitor.sees_all)
        sections += _budgets(decision)
        # In a thread: a translation and its indented text take a while, and this process serves everybody.
        sections += await asyncio.to_thread(_translations, examined, resolved, sees_all=visitor.sees_all)
    return sections


def _body(given: Entered) -> bytes:
    raw = given.body.encode()
    if len(raw) > MAX_BODY:
        raise Mistake("body", f"at most {MAX_BODY // 1024} KiB can be tried here")
    if not given.model:
        _check_depth("body", _decoded(given.body))
        return raw
    body = _object("body", given.body)
    return msgspec.json.encode({**body, "model": given.model})


def _caller(visitor: Visitor, given: Entered) -> Caller | None:
    """Operators may try any claims, everybody else their own alone."""
    if not visitor.sees_all:
        return visitor.caller
    if len(given.claims) > MAX_CLAIMS:
        raise Mistake("claims", f"at most {MAX_CLAIMS // 1024} KiB of claims can be tried here")
    claims = _object("claims", given.claims) if given.claims.strip() else {}
    return Caller(claims) if claims else None


def _object(field: str, text: str) -> dict[str, Any]:
    try:
        found = untrusted.decode(text)
    except (ValueError, RecursionError) as error:
        raise Mistake(field, f"this is not valid JSON: {str(error)[:200]}") from None
    if not isinstance(found, dict):
        raise Mistake(field, "expected a JSON object")
    _check_depth(field, found)
    return found


def _decoded(text: str) -> Any:
    """None for what is no JSON: a mistake in it is the gateway's to find."""
    try:
        return untrusted.decode(text)
    except (ValueError, RecursionError):
        return None


def _check_depth(field: str, value: Any) -> None:
    """Raises Mistake."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        if not inner:
            return
        level = [one for members in inner for one in members]
    raise Mistake(field, f"at most {MAX_DEPTH} arrays and objects within each other can be tried here")


def form(visitor: Visitor, given: Entered, names: Sequence[str], mistake: Mistake | None = None) -> str:
    """Returns the form with what was entered. `names`: as `models`."""
    options = "".join(
        f'<option value="{escape(name)}"{" selected" if name == given.dialect else ""}>{name.capitalize()}</option>'
        for name in dialects.names()
    )
    select = f'<select id="f-dialect" name="dialect">{options}</select>'
    listed = "".join(f'<option value="{escape(name)}"></option>' for name in names[:200])
    model = (
        f'<input id="f-model" name="model" value="{escape(given.model)}" list="models" maxlength="200"'
        f' autocomplete="off" spellcheck="false"><datalist id="models">{listed}</datalist>'
    )
    claims = "<p>The claims are your own.</p>"
    if visitor.sees_all:
        claims = _area("claims", "Claims of the caller (JSON; empty: no credential)", given.claims, 9, mistake)
    return (
        f'<p class="lead">{_LEAD}</p><form class="card playground" method="post" action="{PATH}">'
        f"<div>{_area('body', 'Body of the request (JSON)', given.body, 16, mistake)}{_examples()}</div>"
        f"<div>{layout.field('dialect', 'Dialect of the client', select)}"
        f"{layout.field('model', 'Model, instead of the one in the body', model)}{claims}"
        "<button>Try it</button></div></form>"
    )


def _examples() -> str:
    links = ", ".join(f'<a href="{PATH}?dialect={escape(name)}">{name.capitalize()}</a>' for name in dialects.names())
    return f'<p class="hint">Begin with an example of {links}</p>'


def _area(name: str, title: str, value: str, rows: int, mistake: Mistake | None) -> str:
    wrong, problem = "", ""
    if mistake is not None and mistake.field == name:
        wrong = f' aria-invalid="true" aria-describedby="e-{name}"'
        problem = f'<p class="failed" id="e-{name}" role="alert">{escape(printable(str(mistake)))}</p>'
    # A line break at the beginning would be lost: https://html.spec.whatwg.org/#the-textarea-element
    area = f'<textarea id="f-{name}" name="{name}" rows="{rows}" spellcheck="false"{wrong}>\n{escape(value)}</textarea>'
    return layout.field(name, title, area) + problem


def _examined(outcome: Examined | Planned) -> tuple[Examined, tuple[Resolved, ...]]:
    if isinstance(outcome, Planned):
        return outcome.examined, outcome.candidates
    return outcome, (outcome.resolved,)


def _verdict(decision: Decision, *, sees_all: bool) -> str:
    call, outcome, subject = decision.call, decision.outcome, decision.subject
    found: dict[str, str] = {}
    if isinstance(outcome, Rejection):
        title = f"Decision: refused with {rejection_status(call.dialect, outcome)}"
        found |= {"Message": outcome.message, "Reason": str(outcome.reason)}
        found |= {"Error": outcome.detail} if sees_all else {}  # it may name a rule
    else:
        title = "Decision: allowed"
    found["Path"] = call.request.path
    if isinstance(call, Identified):
        found["Caller"] = f"{call.caller.subject} ({call.caller.kind})".lstrip()
    model = subject.model if subject is not None else None
    if model is not None and (sees_all or not isinstance(outcome, Rejection)):
        several = model.rule.pool is not None
        found["Model"] = f"{model.name} (several providers)" if several else model.name
        found |= {} if several else {"Provider": model.provider.name, "At the provider": model.upstream}
        found["Entry"] = f"models.{model.rule.index}" if model.rule.index >= 0 else "of the route"
    return layout.facts(title, found)


def _rules(gateway: Gateway, decision: Decision) -> Iterator[str]:
    call, subject = decision.call, decision.subject
    if subject is None or not isinstance(call, Identified):
        return
    seen = gateway.rules.seen(subject)
    rows = [
        {
            "value": one.value,
            "rule": printable_lines(one.text),
            "why": one.why,
            "key": one.key,
            "place": one.place.rpartition("/")[2],
        }
        for rules in gateway.rules.sets(call, subject.model)
        for one in dry_run.rule_answers(gateway, rules, seen)
    ]
    columns = [
        Column("value", "Result"),
        Column("rule", "Rule", "code"),
        Column("key", "Key", "code"),
        Column("place", "Place", "code"),
        Column("why", "Remark"),
    ]
    yield html(Table("rules", "Rules", columns, rows, empty="No rule applies to this call.", note=_HOW_RULES_COUNT))


def _providers(gateway: Gateway, outcome: Examined | Planned, now: float, *, sees_all: bool) -> Iterator[str]:
    """Which of several providers would be asked."""
    if not isinstance(outcome, Planned):
        return
    asked = [(f"{n}", one) for n, one in enumerate(outcome.candidates, 1)]
    asked += [("gets a copy", outcome.mirror)] if outcome.mirror is not None else []
    asked += [("left out for now", one) for one in outcome.waiting]
    asked += [("not allowed for this caller", one) for one in outcome.refused if sees_all]
    rows = [
        {
            "order": order,
            "provider": one.provider.name,
            "model": one.upstream,
            "state": state_pages.state(gateway.availability, one.provider.name, now),
        }
        for order, one in asked
    ]
    columns = [
        Column("order", "Asked"),
        Column("provider", "Provider"),
        Column("model", "Model there"),
        Column("state", "State"),
    ]
    chosen = dry_run.candidates(gateway, outcome.examined)
    rule = outcome.examined.resolved.rule
    words = f"By {chosen.key}. " if chosen is not None else ""
    words += (
        "Calls that share `sticky` are drawn alike." if rule.settings.sticky else "Weights are drawn for each call."
    )
    yield html(Table("providers", "Providers", columns, rows, note=words))


def _budgets(decision: Decision) -> Iterator[str]:
    if not decision.budgets:
        return
    rows = []
    for one in decision.budgets:
        name, measure, key = one.account.split(SEPARATOR, 2)
        limit = one.limit.most / scale_of(measure)
        rows.append(
            {"name": name, "key": key, "limit": numbers.Amount(limit, measure), "measure": numbers.measure(measure)}
        )
    columns = [
        Column("name", "Budget"),
        Column("key", "Key"),
        Column("limit", "Limit as configured", "amount"),
        Column("measure", "Measure"),
    ]
    yield html(Table("budgets", "Budgets that apply", columns, rows, note="Whether they have room is not asked here."))


def _translations(examined: Examined, candidates: tuple[Resolved, ...], *, sees_all: bool) -> list[str]:
    """The request as each provider would get it, in the order in which they would be asked."""
    body, found = examined.body, list[str]()
    if not isinstance(body, LightBody):
        return found
    for number, one in enumerate(candidates):
        job = job_of(examined.call, examined.model, one, body.raw)
        added = job.settings.for_body(body.members)
        if not sees_all:  # an operator may have written a secret there
            job = msgspec.structs.replace(job, settings=ModelSettings())
        outcome = request_for(job, body.members)
        found.append(_translation(one, outcome, number, sorted(added), sees_all=sees_all))
    return found


def _translation(one: Resolved, found: RequestOutcome, number: int, added: list[str], *, sees_all: bool) -> str:
    title = f"Request to {escape(one.provider.name)}"
    if not isinstance(found, Translated):
        words = found.message if isinstance(found, Rejection) else "The gateway answers this call itself."
        return layout.facts(f"Request to {one.provider.name}", {"Not sent": words})
    path = one.provider.path(found.path, root=found.root)
    lines = [f"POST {_origin(one)}{path}" if sees_all else f"POST {path.removeprefix(_base_path(one))}"]
    lines += [f"{name}: {value}" for name, value in sorted(found.headers.items())]
    head = escape("\n".join(map(printable, lines)))
    warnings = "".join(f"<li><code>{escape(printable(text))}</code></li>" for text in dict.fromkeys(found.warnings))
    said = f"<h3>Warnings</h3><ul>{warnings}</ul>" if warnings else '<p class="note">Everything is carried over.</p>'
    names = ", ".join(f"<code>{escape(printable(name))}</code>" for name in added)
    where = "" if sees_all else " Their values are shown to operators alone, and are left out here."
    said += f'<p class="note">The configuration sets {names}.{where}</p>' if added else ""
    shown, is_cut = _shown(found.body)
    said += f'<p class="note">Only the first {MAX_SHOWN // 1024} KiB of the body are shown.</p>' if is_cut else ""
    return (
        f'<section class="card"><header><h2 id="r-{number}">{title}</h2></header>{said}'
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="r-{number}">'
        f"<pre>{head}\n\n{escape(shown)}</pre></div></section>"
    )


def _origin(one: Resolved) -> str:
    return f"{one.provider.base_url.partition('://')[0]}://{one.provider.authority}"


def _base_path(one: Resolved) -> str:
    """Of the provider's address, without the version that all of these APIs have."""
    return urlsplit(one.provider.base_url).path.removesuffix("/v1")


def _shown(body: bytes) -> tuple[str, bool]:
    """Returns the beginning of a body for people, and whether something is cut off."""
    chunks, length = list[str](), 0
    for chunk in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(untrusted.decode(body)):
        chunks.append(chunk)
        length += len(chunk)
        if length > MAX_SHOWN:
            break
    return printable_json("".join(chunks)[:MAX_SHOWN]), length > MAX_SHOWN


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
