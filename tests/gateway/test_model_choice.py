"""A budget without room moves a call to the model that it names, if the caller may use that one."""

import json
from pathlib import Path
from typing import Any

import pytest

from extproc.config.loading import Invalid
from extproc.gateway.gateway import Gateway
from tests.issuing import claims, token
from tests.playbook import (
    ABSENT,
    Json,
    Playbook,
    awaits,
    begins,
    describe,
    forwards,
    rejects,
    request_body,
    request_headers,
    response_body,
    response_headers,
    says,
)
from tests.settings import AUTHENTICATION, PROVIDERS, gateway

CONFIG = f"""
{AUTHENTICATION}
{PROVIDERS}
  other: {{dialects: [messages], base_url: "https://other.example"}}
models:
  - {{name: large, provider: openai, model: gpt-large}}
  - {{name: small, provider: other, model: claude-small, aliases: [little], deny: 'jwt.tier == "plain"'}}
  - name: several
    providers: [{{provider: openai, model: a}}, {{provider: other, model: b, allow: 'jwt.tier == "gold"'}}]
  - {{name: tiny, provider: openai, model: gpt-tiny}}
budgets:
"""
DAY = "key: jwt.sub, limit: {requests: 1}, per: day"
TO_SMALL = f"name: day, {DAY}, exceeded: {{model: small}}"
WARNING = "x-gateway-budget-warning"


def made(folder: Path, *budgets: str) -> Gateway:
    return gateway(folder, CONFIG + "".join(f"  - {{{one}}}\n" for one in budgets))


def ask(gate: Gateway, model: str = "large", path: str = "/v1/messages", tier: str = "gold", **more: Any) -> Playbook:
    """A call whose body has been sent."""
    body: Json = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "q"}], **more}
    body = {name: value for name, value in body.items() if value is not None}
    play = Playbook(gate) >> request_headers(path, token=token(claims(tier=tier))) << awaits()
    return play >> request_body(body)


def use_up(gate: Gateway, model: str = "large") -> None:
    play = ask(gate, model)
    play << forwards({})
    gate.ended(play.exchange, {"verdict": "allow"})


ANSWER = {
    "id": "m", "type": "message", "role": "assistant", "model": "claude-small", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 3, "output_tokens": 1},
}  # fmt: skip
MOVED: Json = {"budget.moved_by": "day", "budget.moved_to": "small", "gen_ai.upstream.model": "claude-small"}


@pytest.mark.parametrize(("path", "named"), [("/v1/messages", "claude-small"), ("/v1/chat/completions", "large")])
def test_the_answer_names_the_model_as_it_does_for_an_alias(tmp_path: Path, path: str, named: str) -> None:
    """That is the name in the call, except where the provider's bytes go on unchanged."""
    gate = made(tmp_path, TO_SMALL)
    use_up(gate)
    play = ask(gate, path=path)
    record = {**MOVED, "gen_ai.request.model": "large", "gen_ai.provider.name": "other"}
    play << forwards({"model": "claude-small"}, **record)
    play >> response_headers() >> response_body(ANSWER, end=True)
    action = describe(play.pending.pop(0))
    assert action["headers"][WARNING].startswith("day: no room, answered by small, resets ")
    assert play << says(end=True, body={"model": named})


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/messages", {}),
        ("/v1/chat/completions", {}),
        ("/v1/responses", {"messages": None, "input": "q", "max_tokens": None}),
        ("/v1/messages", {"stream": True}),
        ("/v1/chat/completions", {"stream": True}),
    ],
)
def test_clients_of_every_dialect_are_moved(tmp_path: Path, path: str, more: Json) -> None:
    gate = made(tmp_path, TO_SMALL)
    use_up(gate)
    assert ask(gate, path=path, **more) << forwards({"model": "claude-small"}, {":path": "/v1/messages"}, **MOVED)


def test_a_heavy_body_is_translated_anew(tmp_path: Path) -> None:
    gate = made(tmp_path, TO_SMALL)
    use_up(gate)
    turns = [{"role": "user", "content": "q"}] * 20_000
    assert ask(gate, messages=turns) << forwards({"model": "claude-small"}, **MOVED)


def test_a_budget_counts_calls_to_the_model_that_it_names_and_refuses_none(tmp_path: Path) -> None:
    gate = made(tmp_path, TO_SMALL)
    use_up(gate)
    use_up(gate, "small")
    for name in ("small", "little", "large"):
        assert ask(gate, name) << forwards({"model": "claude-small"})


def test_a_caller_who_may_not_use_the_other_model_gets_the_budgets_refusal(tmp_path: Path) -> None:
    gate = made(tmp_path, TO_SMALL)
    use_up(gate)
    refused = ask(gate, tier="plain")
    record: Json = {"error": "budget:day", "gen_ai.request.model": "large", "budget.moved_by": ABSENT}
    assert refused << rejects(429, "rate_limit_error", headers={"x-should-retry": "false"}, **record)


def test_the_other_model_has_budgets_of_its_own(tmp_path: Path) -> None:
    """`when` is evaluated anew, and nothing stays reserved of a call that is refused in the end."""
    other = "name: small-day, key: jwt.sub, limit: {requests: 2}, per: day, when: 'model == \"small\"'"
    gate = made(tmp_path, f"{TO_SMALL}, when: 'model != \"small\"'", other)
    use_up(gate)
    for _ in range(2):
        assert ask(gate) << forwards({}, **MOVED)
    for _ in range(2):
        assert ask(gate) << rejects(429, "rate_limit_error", error="budget:day")
    assert ask(gate, "small") << rejects(429, "rate_limit_error", error="budget:small-day")


def test_a_chain_of_budgets_ends(tmp_path: Path) -> None:
    when = "when: 'model == \"{}\"'"
    gate = made(
        tmp_path,
        f"name: a, {DAY}, {when.format('large')}, exceeded: {{model: tiny}}",
        f"name: b, {DAY}, {when.format('tiny')}, exceeded: {{model: little}}",
        f"name: c, {DAY}, {when.format('little')}, exceeded: {{model: large}}",
    )
    use_up(gate)
    use_up(gate, "tiny")
    record: Json = {"budget.moved_by": "a, b", "budget.moved_to": "little"}
    assert ask(gate) << forwards({"model": "claude-small"}, **record)
    assert ask(gate) << rejects(429, "rate_limit_error", error="budget:a")


def test_a_model_of_several_providers_answers_by_those_that_the_caller_may_use(tmp_path: Path) -> None:
    gate = made(tmp_path, f"name: day, {DAY}, exceeded: {{model: several}}")
    use_up(gate)
    for tier, clusters in (("gold", 2), ("plain", 1)):
        play = ask(gate, tier=tier)
        action = describe(play.pending.pop(0))
        assert action["action"] == "HandOver" and len(action["clusters"]) == clusters
        assert action["record"]["budget.moved_to"] == "several"


def test_a_model_of_several_providers_is_moved_to_one(tmp_path: Path) -> None:
    gate = made(tmp_path, TO_SMALL)
    use_up(gate)
    assert ask(gate, "several") << forwards({"model": "claude-small"}, **MOVED)


def test_what_the_other_model_cannot_take_gets_the_budgets_refusal(tmp_path: Path) -> None:
    """Not a 400 for a call that its own model takes."""
    gate = made(tmp_path, TO_SMALL)
    use_up(gate)
    refused = describe(ask(gate, path="/v1/chat/completions", n=3).pending[0])
    assert (refused["status"], refused["record"]["error"]) == (429, "budget:day")


def test_no_other_model_answers_for_the_judge(tmp_path: Path) -> None:
    text = CONFIG.replace("budgets:\n", "auto_mode: {judge: {model: tiny, socket: /run/x.sock}}\nbudgets:\n")
    gate = gateway(tmp_path, f"{text}  - {{{TO_SMALL}}}\n")
    use_up(gate)
    assert ask(gate) << forwards({}, **MOVED)
    assert ask(gate, "tiny") << rejects(429, "rate_limit_error", error="budget:day")


def test_limits_of_each_candidate_apply(tmp_path: Path) -> None:
    """Whichever of the providers answers."""
    gate = made(tmp_path, f"name: day, {DAY}, when: 'provider == \"other\"'")
    assert describe(ask(gate, "several").pending[0])["action"] == "HandOver"
    assert ask(gate, "several") << rejects(429, "rate_limit_error", error="budget:day")
    assert ask(gate, "tiny") << forwards({})


def test_tokens_are_counted_for_the_model_that_was_asked_for(tmp_path: Path) -> None:
    gate = made(tmp_path, TO_SMALL)
    use_up(gate)
    play = ask(gate, path="/v1/messages/count_tokens")
    assert describe(play.pending[0])["record"].get("budget.moved_by") is None


def test_an_unknown_model_is_a_mistake_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as refused:
        made(tmp_path, f"name: day, {DAY}, exceeded: {{model: nobodys}}")
    [line] = str(refused.value).splitlines()
    assert line.endswith("budgets.0.exceeded.model: no model is named 'nobodys'; expected a name that `models` knows")


def test_a_stream_of_the_other_model_has_the_warning(tmp_path: Path) -> None:
    gate = made(tmp_path, TO_SMALL)
    use_up(gate)
    play = ask(gate, stream=True)
    play << forwards({})
    start: Json = {"type": "message_start", "message": {**ANSWER, "content": [], "stop_reason": None}}
    event = b"event: message_start\ndata: " + json.dumps(start).encode() + b"\n\n"
    play >> response_headers(content_type="text/event-stream") >> response_body(event)
    assert WARNING in describe(play.pending[0])["headers"]
    play << begins()
    play << says(end=False, events=["message_start"])
    assert play
