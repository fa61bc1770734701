"""What a call may use, before it is sent, and what it has used, by its record."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from extproc.events import Record
from extproc.policy.authorization.features import read_features
from extproc.policy.facts import Examined, LightBody
from extproc.providers.catalogue import Resolved
from extproc.providers.prices import Price, Prices
from extproc.wire import dialects
from extproc.wire.media_tokens import BYTES_PER_TOKEN

_VERDICT, _ALLOWED = "verdict", "allow"
"""As gateway/record.py writes them when a call is sent."""
NANO = 10**9
"""Costs are billionths of a USD, as whole numbers."""
MAX_TOKENS = 10**8
"""No call has as many: such a limit in a body is a mistake."""
MAX_PLAIN_BYTES = 64 * 1024
"""A larger body may have images in it, which have fewer tokens than their bytes say."""


class Used(NamedTuple):
    """Amounts by measure."""

    cost: int = 0
    """Billionths of a USD."""
    input_tokens: int = 0
    output_tokens: int = 0
    requests: int = 0
    concurrent: int = 0
    """0 at the end: nothing of it stays used."""


class Tokens(msgspec.Struct):
    """For the price of a call whose tokens have no further kinds."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_creation_1h_input_tokens: int = 0
    thinking_tokens: int | None = None
    web_searches: int = 0
    service_tier: str = ""


class Estimate(NamedTuple):
    """What is reserved for a call; and its prices, by provider, for attempts that were given up."""

    reserved: Used
    prices: Mapping[str, Price]
    started: float
    """Unix seconds."""

    @staticmethod
    def of(
        examined: Examined, candidates: Sequence[Resolved], prices: Prices, assumed_output: int, now: float
    ) -> "Estimate":
        """The input by the size of the body, the output by the body's limit or else `assumed_output`, at the dearest
        candidate's price. An unpriced model costs nothing here."""
        found = {one.provider.name: prices.price(one.provider, one.upstream) for one in candidates}
        tokens = Tokens(input_tokens(examined), output_limit(examined, assumed_output))
        costs = (price.cost(tokens, "", now) or 0.0 for price in found.values())
        cost = math.ceil(max(costs, default=0.0) * NANO)
        return Estimate(Used(cost, tokens.input_tokens, tokens.output_tokens, 1, 1), found, now)

    @staticmethod
    def unread() -> "Estimate":
        """For a call that passes through."""
        return Estimate(Used(requests=1, concurrent=1), {}, 0.0)

    def charge(self, seen: Record) -> Used:
        """What the call has used. `seen`: all that was put on record of it."""
        if seen.get(_VERDICT) != _ALLOWED:
            return Used()  # it was sent to nobody
        cost = round(_number(seen, "gen_ai.usage.cost") * NANO)
        tokens_in, tokens_out = (int(_number(seen, f"gen_ai.usage.{kind}_tokens")) for kind in ("input", "output"))
        for provider, given_up in _given_up(seen):
            tokens_in, tokens_out = tokens_in + given_up.input_tokens, tokens_out + given_up.output_tokens
            price = self.prices.get(provider)
            cost += round((price.cost(given_up, "", self.started) or 0.0 if price else 0.0) * NANO)
        return Used(cost, tokens_in, tokens_out, 1)


def input_tokens(examined: Examined) -> int:
    """An estimate."""
    body = examined.body
    size = len(body.raw)
    if not isinstance(body, LightBody):
        known = body.features.get("estimated_tokens")
    elif size > MAX_PLAIN_BYTES:
        known = read_features(examined.call.dialect, body.members, size).get("estimated_tokens")
    else:
        known = None
    return min(MAX_TOKENS, known if isinstance(known, int) else math.ceil(size / BYTES_PER_TOKEN))


def output_limit(examined: Examined, assumed: int) -> int:
    """The most that may be written, for all answers together."""
    body, call = examined.body, examined.call
    if not isinstance(body, LightBody):
        limit, answers = body.features.get("max_tokens"), 1
    else:
        members = {**body.members, **examined.resolved.configured(call.dialect, body.members)}
        limits = [members[name] for name in dialects.row(call.dialect).limits if type(members.get(name)) is int]
        limit = max(limits, default=None)
        answers = members["n"] if type(members.get("n")) is int else 1
    one = limit if isinstance(limit, int) and limit >= 0 else assumed
    return min(MAX_TOKENS, one * max(1, answers))


def _number(seen: Record, name: str) -> float:
    value = seen.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else 0


def _given_up(seen: Record) -> list[tuple[str, Tokens]]:
    """Attempts whose answer the client did not get, and that reported tokens."""
    tries = seen.get("attempt.tries")
    if not isinstance(tries, str):
        return []
    try:
        found = msgspec.json.decode(tries, type=list[_Try])
    except msgspec.MsgspecError:
        return []
    return [
        (one.provider, Tokens(one.input_tokens, one.output_tokens))
        for one in found
        if one.word == "failed" and (one.input_tokens or one.output_tokens)
    ]


class _Try(msgspec.Struct):
    """The members of gateway.attempts.Try that count here."""

    provider: str
    word: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
