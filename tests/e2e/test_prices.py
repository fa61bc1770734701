"""What a call costs is in the log and in the metrics, in every dialect; what has no price is shown as such."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.prometheus import scraped
from tests.e2e.raw_provider import ENDED, SAID, STREAM, Connection, RawProvider, whole
from tests.e2e.sse import events, streaming
from tests.e2e.stack import Json, Stack, free_port, prompt, up

CONFIG = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
providers:
  claude: {dialects: [messages], base_url: "${RAW_URL}", prices: anthropic}
  gpt: {dialects: [chat], base_url: "${RAW_URL}", prices: openai}
  responses: {dialects: [responses], base_url: "${RAW_URL}", prices: openai}
  own: {dialects: [chat], base_url: "${RAW_URL}"}
models:
  - {name: claude-sonnet-5, provider: claude}
  - {name: gpt-5.2, provider: gpt}
  - {name: gpt-5.2-pro, provider: responses, model: gpt-5.2}
  - {name: qwen3-8b, provider: own}
  - {name: "*", provider: own}
prices: {overrides: [{model: "QWEN*", input: 2, output: 6}]}
metrics: {port: "${METRICS_PORT}"}
workers: 1
"""
COST, CURRENCY, ESTIMATED = "gen_ai.usage.cost", "gen_ai.usage.cost.currency", "gen_ai.usage.estimated"
PATHS = {"messages": "/v1/messages", "chat": "/v1/chat/completions", "responses": "/v1/responses"}
USED = {"prompt_tokens": 1000, "completion_tokens": 100}
CLAUDE: Json = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "hi"}],
    "usage": {
        "input_tokens": 1000, "output_tokens": 100, "cache_creation_input_tokens": 1000,
        "cache_creation": {"ephemeral_1h_input_tokens": 500},
    },
}  # fmt: skip
CHAT: Json = {
    "id": "c", "object": "chat.completion", "model": "m", "usage": USED,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
}  # fmt: skip
RESPONSES: Json = {
    "id": "r", "object": "response", "status": "completed", "model": "gpt-5.2", "service_tier": "priority",
    "output": [{"type": "message", "id": "m", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "hi", "annotations": []}]}],
    "usage": {"input_tokens": 1000, "output_tokens": 100},
}  # fmt: skip


@dataclass
class Priced:
    stack: Stack
    provider: RawProvider
    metrics: str

    def line(self, model: str, answer: Json, dialect: str = "messages") -> Json:
        """The log's line of a call that is answered so."""
        self.provider.plays(whole(json.dumps(answer).encode()))
        asked = {"model": model, "input": "q"} if dialect == "responses" else prompt("q", model=model)
        return self.stack.record(self.stack.call(asked, path=PATHS[dialect]))


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Priced]:
    port = free_port()
    with RawProvider().serving() as provider:
        environ = {"RAW_URL": provider.url, "METRICS_PORT": str(port)}
        with up(tmp_path_factory.mktemp("prices"), environ=environ, config=CONFIG) as stack:
            yield Priced(stack, provider, f"http://127.0.0.1:{port}/metrics")


@pytest.mark.parametrize("dialect", PATHS)
def test_a_call_has_its_cost_in_the_log(priced: Priced, dialect: str) -> None:
    expected = {
        "claude-sonnet-5": (CLAUDE, (1000 * 2 + 500 * 2.5 + 500 * 4 + 100 * 10) / 1e6),
        "gpt-5.2": (CHAT, (1000 * 1.75 + 100 * 14) / 1e6),
        "gpt-5.2-pro": (RESPONSES, (1000 * 3.5 + 100 * 28) / 1e6),
        "qwen3-8b": (CHAT, (1000 * 2 + 100 * 6) / 1e6),
    }
    for model, (answer, cost) in expected.items():
        line = priced.line(model, answer, dialect)
        assert (line[COST], line[CURRENCY], line[ESTIMATED]) == (round(cost, 9), "USD", None)


def test_what_calls_cost_is_added_up_and_what_has_no_price_is_counted(priced: Priced) -> None:
    before = scraped(priced.metrics, lambda _: True)
    line = priced.line("qwen3-8b", CHAT)
    unknown = priced.line("who-knows", CHAT)
    assert unknown["gen_ai.usage.input_tokens"] == 1000 and unknown[COST] is None and unknown[CURRENCY] is None
    counted = "extproc_unpriced_calls_total"
    after = scraped(priced.metrics, lambda scrape: scrape.total(counted) == before.total(counted) + 1)
    spent = "extproc_cost_usd_total"
    assert after.total(spent) - before.total(spent) == pytest.approx(line[COST])


def test_the_cost_of_a_stream_that_breaks_off_is_an_estimate(priced: Priced) -> None:
    def breaks(connection: Connection) -> None:
        connection.say(STREAM + SAID * 3)

    def ends(connection: Connection) -> None:
        used = b'data: {"choices":[],"usage":%b}\n\n' % json.dumps(USED).encode()
        connection.say(STREAM + SAID * 3 + ENDED.replace(b"data: [DONE]", used + b"data: [DONE]"))

    lines = []
    for play in (breaks, ends):
        priced.provider.plays(play)
        with streaming(priced.stack, "q", model="qwen3-8b") as answer:
            list(events(answer))
        lines.append(priced.stack.record(answer))
    broken, whole_one = lines
    assert broken["reason"] == "Truncated" and broken[ESTIMATED] is True
    tokens = broken["gen_ai.usage.input_tokens"], broken["gen_ai.usage.output_tokens"]
    assert broken[COST] == pytest.approx((tokens[0] * 2 + tokens[1] * 6) / 1e6) and min(tokens) > 0
    assert whole_one[COST] == pytest.approx((1000 * 2 + 100 * 6) / 1e6) and not whole_one[ESTIMATED]
