"""Spans without a collector: what goes upstream, what is said of a call, what the configuration may be."""

import builtins
import time
from pathlib import Path
from typing import Any

import pytest

from extproc.gateway import tracing
from extproc.gateway.gateway import Gateway
from tests.issuing import token
from tests.playbook import Playbook, awaits, done, forwards, request_body, request_headers
from tests.settings import GATEWAY, faults, gateway

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACING = 'tracing: {endpoint: "http://127.0.0.1:1", sample: 0}'
ASK: dict[str, Any] = {"model": "claude-x", "max_tokens": 10, "messages": [{"role": "user", "content": "q"}]}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """Traces nothing of its own accord, so nothing is ever sent."""
    return gateway(tmp_path_factory.mktemp("gateway"), f"{GATEWAY}\n{TRACING}\n")


def sent(gate: Gateway, traceparent: str, tracestate: str = "") -> dict[str, str]:
    """The trace headers that go upstream."""
    event = request_headers(token=token(), traceparent=traceparent, tracestate=tracestate)
    play = Playbook(gate) >> event << awaits() >> request_body(ASK)
    found: dict[str, str] = play._pending[0].set_headers  # type: ignore[union-attr]
    assert play << forwards({})
    return {name: value for name, value in found.items() if name.startswith("trace")}


def test_a_trace_goes_on_upstream(gate: Gateway) -> None:
    found = sent(gate, traceparent=f"00-{TRACE}-{PARENT}-00", tracestate="a=b")
    version, trace, span, flags = found["traceparent"].split("-")
    assert (version, trace, flags, found["tracestate"]) == ("00", TRACE, "00", "a=b")
    assert span != PARENT


@pytest.mark.parametrize("given", ["", "garbage", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01,00-x"])
def test_without_a_trace_one_begins(gate: Gateway, given: str) -> None:
    trace = sent(gate, traceparent=given)["traceparent"].split("-")[1]
    assert int(trace, 16) and trace != TRACE


def test_off_it_leaves_the_callers_header_alone(tmp_path: Path) -> None:
    assert sent(gateway(tmp_path), traceparent=f"00-{TRACE}-{PARENT}-00") == {}


def test_a_passing_call_goes_on_too(tmp_path: Path) -> None:
    text = f"{GATEWAY}\nroutes: [{{path: /v1/files*, serve: passthrough, provider: openai}}]\n{TRACING}\n"
    gate = gateway(tmp_path, text)
    event = request_headers("/v1/files/f", "GET", token=token(), traceparent=f"00-{TRACE}-{PARENT}-00")
    [action] = done(gate.handle(gate.exchange(0), event, time.time()))
    assert action.set_headers["traceparent"].startswith(f"00-{TRACE}-")  # type: ignore[union-attr]
    assert "traceparent" not in action.remove_headers  # type: ignore[union-attr]


def test_attributes_are_the_conventions() -> None:
    record: dict[str, Any] = {
        "gen_ai.usage.input_tokens": 17,
        "gen_ai.usage.cache_read.input_tokens": 5,
        "gen_ai.usage.cache_creation.input_tokens": 2,
        "gen_ai.response.finish_reasons": "end_turn",
        "caller.team": "data",
        "verdict": "allow",
        "cluster": "provider:openai",
        "dialect": "messages",
        "ended": True,
        "answered": True,
        "reason": "Upstream",
    }
    assert tracing.attributes(record) == {
        "gen_ai.usage.input_tokens": 17,
        "gen_ai.usage.cache_read.input_tokens": 5,
        "gen_ai.usage.cache_creation.input_tokens": 2,
        "gen_ai.response.finish_reasons": ["end_turn"],
        "caller.team": "data",
    }
    assert tracing.attributes({}) == {}


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("https://vendor.example/otlp/v1/traces", "https://vendor.example/otlp/v1/traces"),
    ],
)
def test_url(endpoint: str, url: str) -> None:
    assert tracing.url_of(endpoint) == url


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("{}", "tracing.endpoint: this key is required"),
        ('{endpoint: "collector:4317"}', "tracing.endpoint: expected a URL such as https://api.openai.com/v1"),
        ('{endpoint: "http://c", sample: 2}', "tracing.sample: Input should be less than or equal to 1"),
        (
            '{endpoint: "http://c", headers: {api-key: {env: NOWHERE}}}',
            "tracing.headers.api-key: the environment variable NOWHERE is not set or empty",
        ),
        (
            '{endpoint: "http://c", headers: {api-key: sk-1}}',
            "tracing.headers.api-key: a secret is {env: NAME} or {file: PATH}, never the value itself",
        ),
    ],
)
def test_faults(keys: str, problem: str, tmp_path: Path) -> None:
    [found] = faults(tmp_path, f"{GATEWAY}\ntracing: {keys}\n")
    assert found.partition(": ")[2] == problem


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "extproc.gateway.tracing":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    [found] = faults(tmp_path, f"{GATEWAY}\n{TRACING}\n")
    assert found.endswith("tracing: needs an extra: pip install 'llm-extproc[traces]'")
