"""Count in = count logged = count in metrics, spans join the caller's trace, and nothing of it tells what was said."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.e2e import wire
from tests.e2e.otlp import Collector, attributes, collector
from tests.e2e.prometheus import Scrape, scraped
from tests.e2e.providers import chat
from tests.e2e.refusals import PROMPT
from tests.e2e.sse import events, streaming
from tests.e2e.stack import GATEWAY, PROVIDER_KEY, SECONDS, Json, Line, Model, Stack, demo_model, free_port, prompt, up

COLLECTORS_KEY = "key-of-the-collector"
CONFIG = GATEWAY.replace(
    "models:", '  gone: {dialects: [chat], base_url: "${GONE_URL}"}\nmodels:\n  - {name: gone, provider: gone}'
)
CONFIG += """
routes:
  - {path: /v1/files*, serve: passthrough, provider: openai}
metrics: {port: "${METRICS_PORT}", claims: [team]}
tracing: {endpoint: "${COLLECTOR_URL}", headers: {authorization: {env: COLLECTOR_KEY}}}
workers: 2
"""
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass
class Observed:
    stack: Stack
    model: Model
    collector: Collector
    scrapes: str

    def logged(self) -> list[Json]:
        return [Line(json.loads(line)) for line in self.stack.out.seen if line.startswith("{")]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    port = free_port()
    with demo_model(tmp_path_factory.mktemp("observed-model")) as model, collector() as spans:
        environ = {"MODEL_URL": model.url, "GONE_URL": f"http://127.0.0.1:{free_port()}/v1", "METRICS_PORT": str(port)}
        environ |= {"COLLECTOR_URL": spans.url, "COLLECTOR_KEY": COLLECTORS_KEY, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        with up(tmp_path_factory.mktemp("observed"), environ=environ, config=CONFIG) as stack:
            yield Observed(stack, model, spans, f"http://127.0.0.1:{port}")


def streamed(stack: Stack, script: str, pieces: int | None = None) -> None:
    """Read to its end, or given up after so many events."""
    with streaming(stack, f"{PROMPT}\ndemo: {script}") as answer:
        for count, _ in enumerate(events(answer)):
            if count == pieces:
                return


def scripted(stack: Stack, script: str, **more: object) -> httpx.Response:
    return stack.call(prompt(f"{PROMPT}\ndemo: {script}", **more))


MIXED: list[Callable[[Stack], object]] = [
    lambda stack: scripted(stack, "say hello", surprise=1),
    lambda stack: chat(stack, {"model": "gpt-4o", "messages": [{"role": "user", "content": PROMPT}]}),
    lambda stack: streamed(stack, "say one two three four\ndemo: slow 20"),
    lambda stack: streamed(stack, "say hello and good bye\ndemo: truncate"),
    lambda stack: streamed(stack, f"say {'word ' * 200}\ndemo: slow 100", pieces=4),
    lambda stack: stack.call(prompt(PROMPT), path="/v1/messages/count_tokens"),
    lambda stack: stack.call(path="/v1/models", method="GET"),
    lambda stack: stack.call(path="/", method="HEAD"),
    lambda stack: stack.call(path="/v1/files/f", method="GET"),
    lambda stack: stack.call(prompt(PROMPT), token=None),
    lambda stack: stack.call(prompt(PROMPT), token=stack.good_token + "x"),
    lambda stack: stack.call(prompt(PROMPT), token=stack.token(team="marketing")),
    lambda stack: stack.call(prompt(PROMPT, model="of-a-stranger")),
    lambda stack: stack.call(path="/v1/nowhere", method="GET"),
    lambda stack: stack.call(prompt(PROMPT, temperature=PROMPT)),
    lambda stack: scripted(stack, "fail 429 retry-after=1"),
    lambda stack: scripted(stack, "fail 500"),
    lambda stack: scripted(stack, "html"),
    lambda stack: scripted(stack, "say hello\ndemo: reset"),
    lambda stack: stack.call(prompt(PROMPT, model="gone")),
]
ROUNDS = 3
CALLS = ROUNDS * len(MIXED)
USED = {
    "input": "gen_ai.usage.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "cache_read": "gen_ai.usage.cache_read.input_tokens",
    "cache_creation": "gen_ai.usage.cache_creation.input_tokens",
}


def counted(scrape: Scrape) -> float:
    return scrape.total("extproc_requests_total")


@dataclass
class Seen:
    logged: list[Json]
    scrape: Scrape


@pytest.fixture(scope="module")
def seen(observed: Observed) -> Seen:
    """After the mixed run: what was logged, and what a scrape tells."""
    for call in MIXED * ROUNDS:
        call(observed.stack)
    # Envoy refuses this by itself, so it is in the log alone.
    wire.send(observed.stack.url, "x_y: z")
    scrape = scraped(f"{observed.scrapes}/metrics", lambda scrape: counted(scrape) >= CALLS)
    observed.stack.record_where(lambda line: line["details"].startswith("http1."))
    deadline = time.monotonic() + SECONDS
    while len(observed.logged()) < CALLS + 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    logged = observed.logged()
    assert len(logged) == CALLS + 1
    return Seen([line for line in logged if not line["details"].startswith("http1.")], scrape)


def told(line: Json) -> str:
    """The reason as the processor can know it: how a call ended that Envoy cut off or passed through, it cannot."""
    cut = line["details"] == "downstream_remote_disconnect" or line["details"].startswith("upstream_reset_after")
    return "" if line["endpoint"] == "passthrough" else "Aborted" if cut else line["reason"] or ""


def test_every_call_is_logged_and_counted(seen: Seen) -> None:
    assert len(seen.logged) == counted(seen.scrape) == CALLS
    reasons = Counter(told(line) for line in seen.logged)
    assert dict(reasons) == seen.scrape.by("extproc_requests_total", "reason")
    for reason in ("JwtAuth", "Authorization", "ModelNotFound", "InvalidRequest", "Upstream", "Truncated"):
        assert reasons[reason] >= ROUNDS
    assert (reasons["UpstreamUnavailable"], reasons["Aborted"]) == (ROUNDS, 2 * ROUNDS)


def test_every_field_of_the_log_that_is_a_label_adds_up(seen: Seen) -> None:
    for name, label in {
        "gen_ai.operation.name": "gen_ai_operation_name",
        "gen_ai.provider.name": "gen_ai_provider_name",
        "gen_ai.response.model": "gen_ai_response_model",
        "caller.team": "caller_team",
    }.items():
        logged = Counter(line[name] or "" for line in seen.logged)
        assert seen.scrape.by("extproc_requests_total", label) == dict(logged)


def test_tokens_add_up(seen: Seen) -> None:
    for kind, name in USED.items():
        used = [line[name] or 0 for line in seen.logged if line["gen_ai.operation.name"] == "chat"]
        assert seen.scrape.total("gen_ai_client_token_usage_sum", gen_ai_token_type=kind) == sum(used)
        assert seen.scrape.total("gen_ai_client_token_usage_count", gen_ai_token_type=kind) == sum(map(bool, used))
        assert sum(used) > 0 or kind.startswith("cache")


def test_times_are_those_of_the_log(seen: Seen) -> None:
    of_a_model = [line for line in seen.logged if line["gen_ai.operation.name"] in ("chat", "count_tokens")]
    assert seen.scrape.total("gen_ai_server_request_duration_seconds_count") == len(of_a_model)
    well = [line for line in of_a_model if line["gen_ai.request.stream"] and not line["reason"]]
    assert len(well) == ROUNDS
    for kind in ("gen_ai.server.time_to_first_token", "gen_ai.server.time_per_output_token"):
        name = kind.replace(".", "_") + "_seconds"
        assert seen.scrape.total(f"{name}_count") == len(well)
        assert seen.scrape.total(f"{name}_sum") == pytest.approx(sum(line[kind] for line in well))


def test_labels_are_bounded_and_warnings_counted(seen: Seen) -> None:
    assert seen.scrape.values("gen_ai_request_model") == {"", "other", "claude-x", "gpt-4o", "gone"}
    assert seen.scrape.values("caller_team") == {"", "data-platform", "marketing"}
    warnings = [one for line in seen.logged for one in (line["warnings"] or "").split(",") if one]
    assert seen.scrape.total("translation_warnings_total") == len(warnings) > 0
    assert seen.scrape.total("extproc_streams_in_flight") == 0


def test_nothing_tells_what_was_said(observed: Observed, seen: Seen) -> None:
    observed.collector.spans(CALLS)
    spans = observed.collector.raw.decode("latin-1")
    token = observed.stack.good_token
    for secret in (PROMPT, token, token.rpartition(".")[2], PROVIDER_KEY, COLLECTORS_KEY, "word word"):
        assert secret not in spans
        assert secret not in seen.scrape.text
        assert secret not in json.dumps(seen.logged)
    assert {headers["authorization"] for headers in observed.collector.headers} == {COLLECTORS_KEY}
    assert observed.collector.services == {"llm-extproc"}


def test_every_call_is_one_span(observed: Observed, seen: Seen) -> None:
    spans = observed.collector.spans(CALLS)
    assert len(spans) == CALLS
    reasons = Counter(attributes(span).get("error.type", "") for span in spans)
    assert dict(reasons) == seen.scrape.by("extproc_requests_total", "reason")
    assert {attributes(span)["request_id"] for span in spans} == {line["request_id"] for line in seen.logged}


@pytest.mark.usefixtures("seen")
def test_a_span_joins_the_callers_trace_and_the_model_joins_the_span(observed: Observed) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
    answer = observed.stack.call(prompt("demo: say hello"), headers=headers)
    record = observed.stack.record(answer)
    span = next(span for span in observed.collector.spans(CALLS + 1) if span.trace_id.hex() == TRACE)
    assert (span.parent_span_id.hex(), span.name, span.trace_state) == (PARENT, "chat claude-x", "vendor=1")
    sent = dict(observed.model.last()["headers"])
    assert sent["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"
    assert sent["tracestate"] == "vendor=1"
    found = attributes(span)
    assert found["gen_ai.response.finish_reasons"] == ["end_turn"]
    for name in ("gen_ai.request.model", "gen_ai.response.model", "gen_ai.usage.output_tokens", "caller.team"):
        assert found[name] == record[name]
    lasted = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
    assert 0 < lasted <= record["duration"] + 100


@pytest.mark.usefixtures("seen")
def test_a_caller_who_does_not_trace_is_not_traced(observed: Observed) -> None:
    before = len(observed.collector.spans(0))
    observed.stack.call(prompt("demo: say hello"), headers={"traceparent": f"00-{'5' * 32}-{PARENT}-00"})
    sent = dict(observed.model.last()["headers"])["traceparent"]
    assert sent.startswith(f"00-{'5' * 32}-") and sent.endswith("-00") and PARENT not in sent
    # A later call's span is there, so an earlier one's would be.
    observed.stack.call(prompt("demo: say hello"))
    assert not [span for span in observed.collector.spans(before + 1) if span.trace_id.hex() == "5" * 32]


def health(url: str, path: str) -> tuple[int, Json]:
    answer = httpx.get(url + path, timeout=SECONDS, verify=False)
    return answer.status_code, answer.json()


def test_health_is_answered_beside_the_metrics(observed: Observed) -> None:
    assert health(observed.scrapes, "/livez") == (200, {"status": "live"})
    serving = {"status": "ready", "envoy": "serving", "worker-0": "serving", "worker-1": "serving"}
    assert health(observed.scrapes, "/readyz") == (200, serving)
    assert health(observed.scrapes, "/elsewhere")[0] == 404


ALONE = f'{GATEWAY}\ntracing: {{endpoint: "${{COLLECTOR_URL}}"}}\nworkers: 1\n'


def test_who_ends_sends_what_spans_it_still_has(tmp_path: Path, model: Model) -> None:
    with collector() as spans:
        environ = {"MODEL_URL": model.url, "COLLECTOR_URL": spans.url, "OTEL_BSP_SCHEDULE_DELAY": "600000"}
        with up(tmp_path, environ=environ | {"OTEL_SERVICE_NAME": "of-a-team"}, config=ALONE) as stack:
            assert stack.call(prompt("demo: say hello")).status_code == 200
            assert not spans.spans(0)
        assert len(spans.spans(1)) == 1
        assert spans.services == {"of-a-team"}


def test_a_collector_that_is_gone_costs_spans_and_no_calls(tmp_path: Path, model: Model) -> None:
    host = f"127.0.0.1:{free_port()}"
    environ = {"MODEL_URL": model.url, "COLLECTOR_URL": f"http://{host}", "OTEL_BSP_SCHEDULE_DELAY": "10"}
    with up(tmp_path, environ=environ, config=ALONE) as stack:
        assert stack.call(prompt("demo: say hello")).status_code == 200
        stack.err.first(lambda line: line if "spans are lost" in line else None)
        assert stack.call(prompt("demo: say hello")).status_code == 200
    assert host not in stack.printed and "Traceback" not in stack.printed
    assert stack.printed.count("spans are lost") == 1
