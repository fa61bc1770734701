"""Which budgets apply to a call, what it reserves, and what it is charged."""

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from extproc.errors import Rejection
from extproc.events import Record
from extproc.gateway import attempts
from extproc.gateway.attempts import Try
from extproc.gateway.gateway import Gateway
from extproc.policy.budgets.budgets import Budgets, Reservation
from extproc.policy.budgets.estimate import input_tokens, output_limit, reserved
from extproc.policy.budgets.used import charge
from extproc.policy.budgets.wallet import LocalBank, Wallet
from extproc.policy.facts import Answered, Caller, Examined, Moved
from extproc.store.counters import Claim, Taken
from tests.settings import GATEWAY, PRICED, gateway, source
from tests.stages import admitted, examined

NOW = 1_700_000_000.0
BODY = {"model": "claude-x", "max_tokens": 1000, "messages": [{"role": "user", "content": "q"}]}
SENT: Record = {"verdict": "allow"}


class Broken:
    """The counters cannot be reached."""

    async def take(self, claims: Any) -> Taken | None:
        return None

    def settle(self, settlements: Any, call: str = "") -> None:
        pass


class Outage(LocalBank):
    is_down = False

    async def take(self, claims: Sequence[Claim]) -> Taken | None:
        return None if self.is_down else await super().take(claims)


def made(folder: Path, *entries: str, more: str = PRICED, wallet: Wallet | None = None) -> tuple[Gateway, Budgets]:
    text = GATEWAY + more + "budgets:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries)
    whole = gateway(folder, text)
    parts = source(folder, text), whole.catalogue, whole.rules, whole.prices
    return whole, Budgets(*parts, wallet=wallet or Wallet(), faults=[])


def call(whole: Gateway, claims: dict[str, Any] | None = None, **body: Any) -> Examined:
    caller = Caller({"sub": "ann", "team": "data", **(claims or {})})
    resolved = whole.catalogue.resolve("claude-x")
    return examined(admitted(caller), resolved, {**BODY, **body})


def reserve(budgets: Budgets, asked: Examined, now: float = NOW) -> Reservation | Moved | Rejection | None:
    return asyncio.run(budgets.reserve(asked, now))


TEAM = "name: team, key: jwt.team, limit: {requests: 1}, per: day"


@pytest.mark.parametrize(
    ("entry", "claims", "status"),
    [
        (TEAM, {}, None),
        (TEAM.replace("jwt.team", "jwt.cost_centre"), {}, 403),
        (TEAM.replace("jwt.team", "'has(jwt.cost_centre) ? jwt.cost_centre : null'"), {"cost_centre": 7}, 403),
        (TEAM.replace("jwt.team", "jwt.team"), {"team": None}, None),
        (TEAM + ", when: 'jwt.level > 3'", {}, 403),
        (TEAM + ", when: 'model == \"other\"'", {}, None),
    ],
)
def test_whether_a_budget_applies(tmp_path: Path, entry: str, claims: dict[str, Any], status: int | None) -> None:
    whole, budgets = made(tmp_path, entry)
    found = reserve(budgets, call(whole, claims))
    if status is None:
        assert not isinstance(found, Rejection)
    else:
        assert isinstance(found, Rejection) and found.http_status == status


def test_a_key_that_is_null_leaves_the_call_alone(tmp_path: Path) -> None:
    whole, budgets = made(tmp_path, TEAM)
    assert [reserve(budgets, call(whole, {"team": None})) for _ in range(3)] == [None] * 3


def test_each_key_has_a_budget_of_its_own(tmp_path: Path) -> None:
    whole, budgets = made(tmp_path, TEAM)
    found = [reserve(budgets, call(whole, {"team": team})) for team in ("data", "it", "data")]
    assert [isinstance(one, Reservation) for one in found] == [True, True, False]


def test_a_new_day_begins_anew(tmp_path: Path) -> None:
    whole, budgets = made(tmp_path, TEAM)
    first = reserve(budgets, call(whole))
    assert isinstance(first, Reservation)
    first.settle(SENT)
    assert isinstance(reserve(budgets, call(whole)), Rejection)
    assert isinstance(reserve(budgets, call(whole), NOW + 86400), Reservation)


def test_a_call_that_was_sent_to_nobody_is_not_charged(tmp_path: Path) -> None:
    whole, budgets = made(tmp_path, TEAM)
    first = reserve(budgets, call(whole))
    assert isinstance(first, Reservation)
    first.settle({"reason": "InvalidRequest"})
    assert isinstance(reserve(budgets, call(whole)), Reservation)


def test_a_call_that_no_attempt_has_sent_is_no_request() -> None:
    """It was handed over, and no provider could be asked."""
    handed_over: Record = {**SENT, "cluster": "attempts"}
    assert charge(handed_over).requests == 0
    assert charge({**handed_over, "gen_ai.request.stream": False}).requests == 1
    assert charge({**SENT, "cluster": "openai"}).requests == 1
    assert charge({**handed_over, "attempts.input_tokens": 7}) == (0, 7, 0, 0, 0)


def test_a_refusal_tells_the_limit_and_when_it_resets_and_nothing_else(tmp_path: Path) -> None:
    whole, budgets = made(tmp_path, "name: m, key: jwt.team, limit: {usd: 0.001}, per: month")
    reserve(budgets, call(whole))
    refused = reserve(budgets, call(whole))
    assert isinstance(refused, Rejection)
    assert (
        refused.message == "budget m: 0.001 USD each month are used up or reserved; it resets at 2023-12-01T00:00:00Z"
    )
    headers, unified = dict(refused.headers), "anthropic-ratelimit-unified-"
    assert headers == {
        "retry-after": str(1_701_388_800 - int(NOW)),
        "x-should-retry": "false",
        f"{unified}status": "rejected",
        f"{unified}overage-utilization": "1",
        f"{unified}overage-surpassed-threshold": "1",
        f"{unified}overage-disabled-reason": "org_spend_cap_reached",
        f"{unified}overage-period": "monthly",
        f"{unified}reset": "1701388800",
        f"{unified}overage-reset": "1701388800",
    }


def test_a_call_larger_than_the_limit_may_use_all_of_it_once(tmp_path: Path) -> None:
    whole, budgets = made(tmp_path, "name: m, key: jwt.team, limit: {output_tokens: 10}, per: day")
    assert isinstance(reserve(budgets, call(whole)), Reservation)
    assert isinstance(reserve(budgets, call(whole)), Rejection)


@pytest.mark.parametrize(("when_down", "goes_on"), [("open", True), ("closed", False)])
def test_what_happens_while_the_counters_are_down(tmp_path: Path, when_down: str, goes_on: bool) -> None:
    more = f"{PRICED}store: {{when_down: {when_down}}}\n"
    whole, budgets = made(tmp_path, TEAM, more=more, wallet=Wallet(Broken()))
    found = reserve(budgets, call(whole))
    assert isinstance(found, Reservation) if goes_on else isinstance(found, Rejection) and found.http_status == 503


def test_what_is_reserved_and_charged(tmp_path: Path) -> None:
    """Both prices are 1 USD for a million tokens."""
    whole = gateway(tmp_path, GATEWAY + PRICED)
    asked = call(whole)
    resolved = whole.catalogue.resolve("claude-x")
    assert resolved is not None
    tokens = input_tokens(asked)
    assert reserved(asked, (resolved,), whole.prices, 4096, NOW) == ((tokens + 1000) * 1000, tokens, 1000, 1, 1)
    seen: Record = {
        **SENT, "gen_ai.usage.input_tokens": 30, "gen_ai.usage.output_tokens": 12, "gen_ai.usage.cost": 0.000042,
        **attempts.fields([Try("a", word="failed", input_tokens=7, output_tokens=2, cost=0.000009), Try("b")]),
    }  # fmt: skip
    assert charge(seen) == (42_000 + 9_000, 37, 14, 1, 0)


@pytest.mark.parametrize(
    ("body", "most"),
    [
        ({}, 1000),
        ({"max_tokens": None}, 77),
        ({"max_tokens": True}, 77),
        ({"max_tokens": -5}, 77),
        ({"max_tokens": 10**30}, 10**8),
        ({"n": 3}, 3000),
    ],
)
def test_the_most_that_may_be_written(tmp_path: Path, body: dict[str, Any], most: int) -> None:
    assert output_limit(call(gateway(tmp_path, GATEWAY), **body), 77) == most


def test_an_image_is_not_taken_for_text(tmp_path: Path) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "A" * 400_000}
    image = [{"role": "user", "content": [{"type": "image", "source": source}]}]
    assert input_tokens(call(gateway(tmp_path, GATEWAY), messages=image)) < 20_000


def test_the_dearest_candidate_is_reserved(tmp_path: Path) -> None:
    more = 'prices: {overrides: [{model: "cheap", input: 1, output: 1}, {model: "*", input: 9, output: 9}]}\n'
    whole = gateway(tmp_path, GATEWAY.replace("gpt-4o-mini", "cheap") + more)
    asked = call(whole)
    candidates = (
        asked.resolved,
        msgspec.structs.replace(
            asked.resolved, upstream="dear", provider=msgspec.structs.replace(asked.resolved.provider, name="b")
        ),
    )
    found = reserved(asked, candidates, whole.prices, 0, NOW)
    assert found.usd == (found.input_tokens + 1000) * 9000


def test_a_reservation_from_slices_costs_little(tmp_path: Path) -> None:
    """At most 25 us a call is the aim on a quiet machine; here ten times as much fails."""
    whole, budgets = made(
        tmp_path,
        "name: a, key: jwt.team, limit: {usd: 500000, tokens: 100000000000}, per: month",
        "name: b, key: jwt.sub, limit: {requests: 100000000}, per: minute",
    )
    asked = call(whole)

    async def calls(count: int) -> float:
        best = float("inf")
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(count):
                found = await budgets.reserve(asked, NOW)
                assert isinstance(found, Reservation)
                found.settle(SENT)
            best = min(best, (time.perf_counter() - began) / count)
        return best

    seconds = asyncio.run(calls(500))
    print(f"{seconds * 1e6:.1f} us")
    assert seconds < 250e-6


def test_calls_of_an_outage_free_nothing_that_others_hold(tmp_path: Path) -> None:
    bank = Outage()
    wallet = Wallet(bank)
    entry = "name: n, key: jwt.team, limit: {concurrent: 5}"
    whole, budgets = made(tmp_path, entry, more="store: {when_down: open}\n", wallet=wallet)

    async def scene() -> None:
        async def begun(count: int) -> list[Reservation]:
            found = [await budgets.reserve(call(whole), NOW) for _ in range(count)]
            return [one for one in found if isinstance(one, Reservation)]

        bank.is_down = True
        unreserved = await begun(5)
        bank.is_down = False
        assert (len(unreserved), len(await begun(6))) == (5, 5)
        for one in unreserved:
            one.settle({"verdict": "allow"})
        assert await begun(1) == []

    asyncio.run(scene())


def test_who_asks_for_their_own_is_asked_for_no_provider(tmp_path: Path) -> None:
    entries = (
        "name: n, key: jwt.team, when: 'provider == \"openai\"', limit: {requests: 5}, per: day",
        "name: m, key: jwt.sub, limit: {requests: 5}, per: day",
    )
    _, budgets = made(tmp_path, *entries)
    answered = asyncio.run(budgets.show(admitted(Caller({"sub": "ann", "team": "data"})), NOW))
    assert isinstance(answered, Answered)
    assert [one["name"] for one in json.loads(answered.answer)["budgets"]] == ["m"]
