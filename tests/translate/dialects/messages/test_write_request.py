"""Top-level members: limits, sampling, what passes, what is lost."""

from typing import Any

import pytest

from tests.translate.chat_asking import ask, body, refusal, sent, target, user

OLD = "claude-extended"


def warnings(named: str = "claude-adaptive", **members: Any) -> tuple[str, ...]:
    return ask(body(**members), target(named)).warnings


def test_limits() -> None:
    assert sent(body(max_tokens=7))["max_tokens"] == 7
    assert sent(body(), target(max_output_tokens=100))["max_tokens"] == 100
    assert ask(body(max_tokens=700), target(max_output_tokens=100)).warnings == ("clamped:max_tokens",)
    assert refusal(body(max_completion_tokens=0)).path == "max_completion_tokens"


@pytest.mark.parametrize(("stop", "expected"), [("END", ["END"]), (None, None), ([], None), ("\n", None)])
def test_stop(stop: Any, expected: Any) -> None:
    assert sent(body(stop=stop)).get("stop_sequences") == expected


def test_sampling() -> None:
    found = sent(body(top_p=0.5, top_k=3), target(OLD))
    assert (found["top_p"], found["top_k"]) == (0.5, 3)
    thinking = {"reasoning_effort": "low", "top_p": 0.97, "temperature": 0.5, "top_k": 1}
    found = sent(body(**thinking), target(OLD))
    assert found["top_p"] == 0.97 and "temperature" not in found and "top_k" not in found
    assert warnings(OLD, **thinking) == ("dropped:temperature", "dropped:top_k")
    assert warnings(OLD, reasoning_effort="low", top_p=0.5) == ("dropped:top_p",)


@pytest.mark.parametrize(
    ("tier", "expected"),
    [("auto", "auto"), ("default", "standard_only"), ("priority", "auto"), ("fast", "auto"), ("scale", "auto")],
)
def test_service_tier(tier: str, expected: str) -> None:
    assert sent(body(service_tier=tier))["service_tier"] == expected


def test_fast_mode() -> None:
    found = sent(body(service_tier="fast"), target(fast_mode=True))
    assert found["speed"] == "fast" and "service_tier" not in found


def test_users() -> None:
    assert len(sent(body(user="u" * 300))["metadata"]["user_id"]) == 64
    assert sent(body(user="u", safety_identifier=None))["metadata"] == {"user_id": "u"}


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"n": 2}, "n"),
        ({"n": 0}, "n"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"moderation": {"model": "m", "policy": {"output": {"mode": "block"}}}}, "moderation.policy.output.mode"),
        ({"service_tier": "odd"}, "service_tier"),
        ({"stream": "yes"}, "stream"),
        ({"reasoning_effort": "odd"}, "reasoning_effort"),
        ({"response_format": {"type": "odd"}}, "response_format.type"),
        ({"betas": ["a\nb"]}, "betas.0"),
        ({"model": 3}, "model"),
        ({"stream_options": []}, "stream_options"),
    ],
)
def test_refused(members: Any, path: str) -> None:
    request = {**body(), **members}
    assert refusal(request).path == path


def test_no_word_about_what_is_not_lost() -> None:
    quiet: dict[str, Any] = {
        "n": 1, "store": False, "logprobs": False, "logit_bias": {}, "presence_penalty": 0, "modalities": ["text"],
        "audio": {}, "prompt_cache_key": "k", "prompt_cache_retention": "24h", "user": None, "seed": None,
        "stream_options": {"include_obfuscation": False}, "stream": False,
    }  # fmt: skip
    assert warnings(**quiet) == ()
    assert "stream" not in sent(body(**quiet))
    assert warnings(moderation={"model": "m"}, top_logprobs=2) == ("dropped:moderation", "dropped:logprobs")


def test_strict_refuses_what_would_be_lost() -> None:
    assert refusal(body(seed=1), target(strictness="strict")).path == "seed"
    assert ask(body(seed=1), target(strictness="silent")).warnings == ("dropped:seed",)  # for the log


def test_web_search() -> None:
    near = {"type": "approximate", "approximate": {"city": "Bern", "odd": 1}}
    options = {"search_context_size": "low", "user_location": near}
    (tool,) = sent(body(web_search_options=options), target(web_search=True))["tools"]
    assert tool["name"] == "web_search" and tool["max_uses"] == 5
    assert tool["user_location"] == {"type": "approximate", "city": "Bern"}


def test_anthropics_own_members_win() -> None:
    own = {
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "output_config": {"effort": "low", "task_budget": {"x": 1}},
        "betas": ["b-1", "b-2"],
        "cache_control": {"type": "ephemeral"},
        "anthropic_version": "v",
    }
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    request = body(reasoning_effort="high", response_format=schema, **own)
    found, asked = sent(request), ask(request)
    assert found["thinking"] == own["thinking"] and found["anthropic_version"] == "v"
    assert found["output_config"]["effort"] == "low" and found["output_config"]["task_budget"] == {"x": 1}
    assert found["output_config"]["format"]["schema"] == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }
    assert asked.headers == {"anthropic-version": "2026-10-21", "anthropic-beta": "b-1,b-2"} and asked.warnings == ()
    assert "betas" not in found


def test_headers_by_profile() -> None:
    asked = ask(body(betas=["b"]), target(OLD, betas=["a", "b"]))
    assert asked.headers == {"anthropic-version": "2023-06-01", "anthropic-beta": "a,b"}
    assert asked.path == "/v1/messages"


def test_a_request_without_a_model_gets_the_configured_one() -> None:
    assert sent(body(model=""))["model"] == ask(body(model="")).model == "claude-x"


def test_extra_members_of_the_profile() -> None:
    assert sent(body(), target(extra={"inference_geo": "eu"}))["inference_geo"] == "eu"


def test_breakpoints() -> None:
    def part(n: int, **more: Any) -> dict[str, Any]:
        return {"type": "text", "text": str(n), "prompt_cache_breakpoint": {"mode": "explicit", **more}}

    system = {"role": "system", "content": [part(0), {"type": "text", "text": "s"}]}
    found = sent(body(system, user([part(1), part(2), part(3), part(4, ttl="12h")])))
    assert [("cache_control" in block) for block in found["system"]] == [False, False]
    assert found["messages"][0]["content"][3]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert all("cache_control" in block for block in found["messages"][0]["content"])
    whole = sent(body(user([part(1)])), target(auto_cache=True))
    assert whole["cache_control"] == {"type": "ephemeral"} and isinstance(whole["messages"][0]["content"], list)
