import hashlib
from typing import Any

import pytest

from extproc.errors import Rejection
from tests.translate.answers import messages_on_chat
from tests.translate.asking import ask, body, refusal, sent, target


def extra(request: dict[str, Any], **profile: Any) -> dict[str, Any]:
    found = sent(request, target(**profile))
    return {key: value for key, value in found.items() if key not in ("model", "messages", "max_completion_tokens")}


@pytest.mark.parametrize("value", [0, -1, "1", 1.5, True])
def test_max_tokens_must_be_a_positive_integer(value: Any) -> None:
    assert refusal(body(max_tokens=value)).startswith("max_tokens: Input should be")


def test_unknown_members_are_reported() -> None:
    asked = ask(body(safeguards=[1], cache_control={"type": "ephemeral"}, betas=["x"], diagnostics={}))
    assert asked.warnings == ("dropped:safeguards",)


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"mcp_servers": [{"name": "x"}]}, "mcp_servers"),
        ({"thread": {"type": "create"}}, "thread"),
        ({"compaction": {"type": "x"}}, "compaction"),
        ({"container": {"skills": [{}]}}, "container.skills"),
        ({"billing_policy": {"bill_to": "user_profile"}}, "billing_policy.bill_to"),
        ({"inference_geo": "us"}, "inference_geo"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"speed": 7}, "speed"),
        ({"metadata": []}, "metadata"),
        ({"stop_sequences": ["a", 1]}, "stop_sequences.1"),
        ({"temperature": "hot"}, "temperature"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_refused(members: dict[str, Any], path: str) -> None:
    assert refusal(body(**members)).startswith(f"{path}: ")


def test_a_thread_is_refused_so_that_the_client_sends_all_again() -> None:
    continued = body(thread={"type": "continue"}, messages=[{"role": "user", "content": [{"type": "tool_result"}]}])
    rejection = messages_on_chat.request(continued, target())
    assert isinstance(rejection, Rejection)
    assert rejection.code == "thread_unsupported_request"


@pytest.mark.parametrize(
    ("members", "warning"),
    [
        ({"container": "c"}, "container"),
        ({"container": {"id": "c"}}, "container"),
        ({"context_management": {"edits": [{"type": "compact_20260112"}]}}, "context_management"),
        ({"fallbacks": [{"model": "x"}]}, "fallbacks"),
        ({"output_config": {"task_budget": {"total": 5}}}, "output_config.task_budget"),
        ({"output_config": {"foo": 5}}, "output_config.foo"),
        ({"metadata": {"foo": 5}}, "metadata.foo"),
    ],
)
def test_dropped_with_a_word(members: dict[str, Any], warning: str) -> None:
    assert ask(body(**members)).warnings == (f"dropped:{warning}",)


@pytest.mark.parametrize(
    "name", ["container", "mcp_servers", "context_management", "metadata", "speed", "system", "thread"]
)
def test_null_is_absent(name: str) -> None:
    assert ask(body(**{name: None})).warnings == ()


def test_billing_to_oneself_and_a_geo_of_the_route() -> None:
    assert extra(body(billing_policy={"bill_to": "self"}, inference_geo="eu", mcp_servers=[]), geos=["eu"]) == {}


def test_user_id() -> None:
    long = "u" * 65
    digest = hashlib.sha256(long.encode()).hexdigest()
    assert extra(body(metadata={"user_id": long})) == {"safety_identifier": digest}
    assert extra(body(metadata={"user_id": "u"}), user_field="user") == {"user": "u"}
    assert extra(body(metadata={"user_id": "u"}), user_field="none") == {}


def test_service_tier_and_speed() -> None:
    assert extra(body(service_tier="auto")) == {"service_tier": "auto"}
    assert extra(body(service_tier="auto", speed="fast")) == {"service_tier": "priority"}
    assert extra(body(speed="fast", service_tier="auto")) == {"service_tier": "priority"}
    assert extra(body(speed="standard")) == {}
    assert extra(body(service_tier="auto"), service_tier=False) == {}
    assert ask(body(speed="fast"), target(service_tier=False)).warnings == ("dropped:speed",)


def test_sampling() -> None:
    asked = body(temperature=0.5, top_p=1, top_k=3)
    assert extra(asked, top_k=True) == {"temperature": 0.5, "top_p": 1, "top_k": 3}
    none = sent({**asked, "thinking": {"type": "disabled"}}, target("openai-reasoning"))
    assert none["temperature"] == 0.5
    assert "temperature" not in sent(asked, target("openai-reasoning"))


def test_stop() -> None:
    assert extra(body(stop_sequences=["a"])) == {"stop": ["a"]}
    assert extra(body(stop_sequences=[])) == {}
    five = body(stop_sequences=list("abcde"))
    assert ask(five, target(local_stop=True)).warnings == ()
    assert ask(five, target(local_stop=True)).stop_sequences == tuple("abcde")
    assert ask(five, target(local_stop=True, stop=False)).warnings == ()
    assert extra(five, local_stop=True, stop=False) == {}


def test_stream() -> None:
    assert extra(body(stream=False)) == {}
    assert extra(body(stream=True), stream_usage=False) == {"stream": True}
    options = {"include_usage": True, "include_obfuscation": False}
    assert extra(body(stream=True), stream_obfuscation_off=True)["stream_options"] == options


def test_prompt_cache_key() -> None:
    headers = {"x-claude-code-session-id": "s-1"}
    assert sent(body(), target(headers=headers, prompt_cache_key="session"))["prompt_cache_key"] == "s-1"
    assert "prompt_cache_key" not in sent(body(), target(headers=headers))
