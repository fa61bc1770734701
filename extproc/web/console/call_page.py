"""The record of one call, and what it says of the gateway's decisions. What is not on record is not guessed; where the
configuration in force explains the record, that is said."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any
from urllib.parse import urlencode

from extproc.gateway.gateway import Gateway
from extproc.policy.authentication.tokens import KEY_SUBJECT
from extproc.policy.authorization.cel import Rule
from extproc.usage.calls import ATTEMPT_SEPARATOR, NANO
from extproc.usage.reading import Reader, Row, Scope
from extproc.web.console import layout, numbers
from extproc.web.console.tables import SUCCEEDED, Column, Table, html
from extproc.web.console.view import Visitor
from extproc.wire import dialects

PATH = "/console/call"
_FOREVER = 2**53
_MILLION = 1_000_000
_BUDGET, _UNDECIDED = "budget", "budget_undecided"
_BY_RULES = frozenset({"not_allowed", "model_not_allowed"})
_KINDS = {
    "input": "Input",
    "cache_read": "Read from the cache",
    "cache_write": "Written to the cache",
    "output": "Output",
}
_OTHER_COST = (
    "The cost on record is another one. Prices may have changed since, or it has parts that the ledger does not keep:"
    " a service tier, thinking, caches for an hour, searches, attempts that were given up."
)


def find(reader: Reader, id: str, visitor: Visitor) -> Row | None:
    """Returns the call, or None where there is none that this person may see; for a thread. Raises LedgerDown,
    TooSlow."""
    who = () if visitor.sees_all else (visitor.subject, visitor.issuer)
    return reader.call(id, Scope(0, _FOREVER, *who))


def parts(gateway: Gateway, call: Row, *, sees_all: bool) -> list[str]:
    """`sees_all`: for people who may see the configuration."""
    sections = {
        "Outcome": _outcome(call),
        "Decision": dict(_decision(gateway, call, sees_all=sees_all)),
        "Caller": {
            "Person": call["subject"],
            "Issuer": call["issuer"],
            **{name: str(value) for name, value in sorted(call["claims"].items())},
        },
        "Model": {
            "Asked for": call["model"],
            "At the provider": call["upstream_model"],
            "As answered": call["response_model"],
            "Moved by budget": call["moved_by"],
            "Provider": call["provider"],
            "Path": call["endpoint"],
            "Operation": call["operation"],
        },
        "Tokens and cost": _spend(call),
    }
    return [
        '<div class="pair">',
        *(layout.facts(title, values) for title, values in sections.items()),
        "</div>",
        *_attempts(call),
        *_price(gateway, call),
        *_playground(call),
    ]


def _outcome(call: Row) -> dict[str, str]:
    return {
        "Time (UTC)": numbers.moment(call["time"]),
        "Outcome": call["reason"] or SUCCEEDED,
        "Error": call["error"],
        "Warnings": call["warnings"],
        "Duration": numbers.duration(call["duration"]),
        "First token": numbers.duration(call["first_token"]),
        "Request id": call["request_id"],
    }


def _spend(call: Row) -> dict[str, str]:
    unpriced = call["cost"] is None and call["input_tokens"] is not None
    cost = "unpriced" if unpriced else numbers.ABSENT if call["cost"] is None else f"${call['cost'] / NANO:.6f}"
    return {
        "Input tokens": numbers.whole(call["input_tokens"]),
        "of these read from the cache": numbers.whole(call["cache_read_tokens"]),
        "of these written to the cache": numbers.whole(call["cache_write_tokens"]),
        "Output tokens": numbers.whole(call["output_tokens"]),
        "Cost": cost + (", estimated" if call["estimated"] else ""),
    }


def _decision(gateway: Gateway, call: Row, *, sees_all: bool) -> Iterator[tuple[str, str]]:
    yield "Authenticated by", _authenticator(gateway, call)
    code, _, place = call["error"].partition(":")
    if code in _BY_RULES:
        yield "Rules", f"refused by {place}"
        if sees_all and (rules := _rules_at(gateway, place)):
            yield "There, as configured now", "; ".join(rules)
    elif code == _UNDECIDED:
        yield "Budgets", f"refused: the budget {place} could not tell from the caller's claims whom the call counts for"
    elif code == _BUDGET:
        yield "Budgets", f"refused: the budget {place} was used up or reserved"
    elif call["provider"]:
        yield "Rules", "none refused it; which rule of allow held is not on record"
        yield "Budgets", "none refused it; which apply is not on record"
    else:
        yield "Rules and budgets", "not on record"
    if sees_all and (entry := _entry(gateway, call["model"])):
        yield "Entry of the model, as configured now", entry


def _authenticator(gateway: Gateway, call: Row) -> str:
    """The record names the issuer and the subject; which section proves such a caller is the configuration's."""
    config, issuer, subject = gateway.source.config, call["issuer"], call["subject"]
    if config.sign_in is not None and issuer == config.sign_in.public_url:
        return "a token of the gateway's own sign-in"
    if issuer:
        known = any(one.issuer == issuer for one in config.authentication.jwt)
        return f"a token of {issuer}" + ("" if known else ", which is not configured any more")
    if subject.startswith(KEY_SUBJECT):
        return f"the static key {subject.removeprefix(KEY_SUBJECT)}"
    return "a client certificate" if subject else "nothing: the caller is anonymous"


def _rules_at(gateway: Gateway, place: str) -> list[str]:
    """The rules with this key, or in the list with this key."""
    return [rule.text for rule in gateway.rules.every() if _is_at(rule, place)]


def _is_at(rule: Rule, place: str) -> bool:
    return f"{'.'.join(map(str, rule.where))}.".startswith(f"{place}.")


def _entry(gateway: Gateway, model: str) -> str:
    found = gateway.catalogue.resolve(model)
    if found is None or found.rule.index < 0:
        return ""
    rule, pool = found.rule, found.rule.pool
    if pool is None:
        return f"models.{rule.index}"
    lists = "a list of choose, or providers" if pool.conditions else "providers"
    drawn = f"calls with the same {pool.sticky} are drawn alike" if pool.sticky else "weights are drawn for each call"
    return f"models.{rule.index}: {lists}; {drawn}; providers that cool down are left out"


def _attempts(call: Row) -> Iterator[str]:
    """Which providers were asked, in their order."""
    given = call["attempts"]
    if not given:
        return
    texts = given.split(ATTEMPT_SEPARATOR)
    rows = []
    for number, text in enumerate(texts, 1):
        provider, _, said = text.partition(" ")
        is_last = number == len(texts)
        became = "answered" if is_last and not call["reason"] else "told to the client" if is_last else "moved on"
        rows.append({"number": number, "provider": provider, "said": said, "became": became})
    columns = [
        Column("number", "Attempt"),
        Column("provider", "Provider"),
        Column("said", "Status, why, and seconds"),
        Column("became", "Then"),
    ]
    note = "A call moves on to the next provider when one fails before the client has got a byte."
    yield html(Table("attempts", "Attempts", columns, rows, note=note))


def _price(gateway: Gateway, call: Row) -> Iterator[str]:
    """How the cost comes about, by the prices in force at the time of the call as they are known now."""
    provider = gateway.providers.get(call["provider"])
    if provider is None or call["cost"] is None or call["input_tokens"] is None:
        return
    names = filter(None, (call["upstream_model"], call["response_model"]))
    tariff = next((found for name in names if (found := gateway.prices.tariff(provider, name)) is not None), None)
    rates = tariff.rates("", call["time"] / 1000) if tariff is not None else None
    if rates is None:
        return
    size = call["input_tokens"]
    cached = {kind: call[f"{kind}_tokens"] or 0 for kind in ("cache_read", "cache_write")}
    tokens = {"input": size - sum(cached.values()), **cached, "output": call["output_tokens"] or 0}
    prices = rates.per_token(size)
    costs = {kind: round(count * prices[kind] * NANO) for kind, count in tokens.items()}
    rows: list[Mapping[str, Any]] = [
        {"kind": _KINDS[kind], "tokens": count, "price": round(prices[kind] * _MILLION * NANO), "cost": costs[kind]}
        for kind, count in tokens.items()
        if count
    ]
    total = sum(costs.values())
    rows.append({"kind": "Sum", "tokens": sum(tokens.values()), "price": None, "cost": total})
    columns = [
        Column("kind", "Tokens by kind"),
        Column("tokens", "Tokens", "number"),
        Column("price", "For a million", "usd"),
        Column("cost", "Cost", "usd"),
    ]
    # Each kind is rounded by itself here.
    note = "" if abs(total - call["cost"]) <= len(costs) else _OTHER_COST
    yield html(Table("price", "Price", columns, rows, note=note))


def _playground(call: Row) -> Iterator[str]:
    if call["endpoint"] in dialects.names():
        query = escape(urlencode({"dialect": call["endpoint"], "model": call["model"]}))
        yield f'<nav class="pages" aria-label="More"><a href="/console/playground?{query}">Try such a call</a></nav>'
