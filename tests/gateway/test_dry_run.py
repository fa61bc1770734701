"""What would become of a call, by the code that decides; `extproc check` and the console's playground show it."""

import asyncio
import json
from pathlib import Path

from extproc.errors import Rejection
from extproc.gateway import dry_run
from extproc.gateway.dry_run import Decision, HypotheticalCall
from extproc.gateway.gateway import Gateway
from extproc.policy.admit import Load
from extproc.policy.facts import Caller, Examined, Planned
from tests.settings import GATEWAY, gateway

CONFIG = f"""{GATEWAY.partition("models:")[0]}
models:
  - {{name: gold, provider: openai, require: 'jwt.team == "gold"'}}
  - {{name: several, providers: [{{provider: openai, model: a}}, {{provider: openai, model: b}}]}}
budgets:
  - {{name: team, key: jwt.team, limit: {{requests: 1}}, per: day}}
"""
GOLD = Caller({"sub": "ann", "team": "gold"})


def body(model: str) -> bytes:
    return json.dumps({"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "q"}]}).encode()


def decided(made: Gateway, raw: bytes, caller: Caller | None = GOLD) -> Decision:
    return asyncio.run(dry_run.decide(made, HypotheticalCall("messages", raw, caller), 1_800_000_000.0))


def test_a_call_that_is_allowed_takes_no_room_and_no_budget(tmp_path: Path) -> None:
    made = gateway(tmp_path, CONFIG)
    for _ in range(3):  # of a budget for one call
        decision = decided(made, body("gold"))
        assert isinstance(decision.outcome, Examined)
        assert [one.account for one in decision.budgets] == ["team\x1frequests\x1fgold"]
    assert made.in_flight.total == Load()


def test_what_the_rules_say(tmp_path: Path) -> None:
    made = gateway(tmp_path, CONFIG)
    decision = decided(made, body("gold"), Caller({"sub": "bob"}))
    assert isinstance(decision.outcome, Rejection) and decision.outcome.http_status == 403
    assert decision.subject is not None and decision.subject.model is not None
    [rules] = [one for one in made.rules.sets(decision.subject.call, decision.subject.model) if one.of_model]
    [answer] = dry_run.rule_answers(made, rules, made.rules.seen(decision.subject))
    assert (answer.value, answer.key) == ("fails", "models.0.require.0") and "gateway.yaml:" in answer.place


def test_several_candidates(tmp_path: Path) -> None:
    decision = decided(made := gateway(tmp_path, CONFIG), body("several"))
    assert isinstance(decision.outcome, Planned)
    assert [one.upstream for one in decision.outcome.candidates] == ["a", "b"]
    found = dry_run.candidates(made, decision.outcome.examined)
    assert found is not None and found.key == "models.1.providers"


def test_who_has_no_credential(tmp_path: Path) -> None:
    decision = decided(gateway(tmp_path, CONFIG), body("gold"), None)
    assert isinstance(decision.outcome, Rejection) and decision.outcome.http_status == 401
    assert decision.subject is None


def test_a_budget_that_does_not_know_its_key(tmp_path: Path) -> None:
    decision = decided(gateway(tmp_path, CONFIG), body("several"), Caller({"sub": "bob"}))
    assert isinstance(decision.outcome, Rejection) and decision.outcome.detail == "budget_undecided:team"


def test_bodies_that_are_none(tmp_path: Path) -> None:
    made = gateway(tmp_path, CONFIG)
    for raw in (b"", b"{", b"[]", b"[" * 50_000, b"\xff", b'{"model": 5}'):
        assert isinstance(decided(made, raw).outcome, Rejection), raw
