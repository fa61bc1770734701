"""Managed settings and telemetry: what a signed-in Claude Code is given, and what becomes of what it sends."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from extproc.policy.auto_mode import NOT_ALLOWED
from tests.e2e.claude_code import NEWEST, install
from tests.e2e.claude_runs import STREAM_JSON, Claude, Run, call, script
from tests.e2e.otlp import Collector, attributes, collector
from tests.e2e.prometheus import scraped
from tests.e2e.stack import GATEWAY, ONE_WORKER, Json, Model, Stack, free_port, up

MODELS = """models:
  - {name: qwen3-coder, provider: openai, model: gpt-4o-mini, context_window: 131072}
  - {name: qwen3-small, aliases: [claude-tiny], provider: openai, model: gpt-4o-mini, context_window: 65536}
  - {name: secret, provider: openai, model: gpt-4o, allow: ['jwt.team == "security"']}
"""
SETTINGS = """
managed_settings:
  - settings:
      enforceAvailableModels: true
      model: claude-qwen3-coder
      skipWebFetchPreflight: true
      permissions: {deny: [WebSearch]}
      env: {ANTHROPIC_DEFAULT_HAIKU_MODEL: claude-qwen3-small}
  - when: 'jwt.team == "data-platform"'
    settings: {permissions: {deny: ["Bash(rm *)"]}, companyAnnouncements: ["Grüße 😀"]}
  - {when: 'jwt.team == "data-platform"', settings: {permissions: {deny: [never]}}}
auto_mode: {rules: [{when: 'true', outcome: deny}]}
"""
SIGN_IN = """
sign_in: {public_url: "http://localhost:PORT", issuer: "http://127.0.0.1:1", client_id: x}
telemetry:
  collectors: [{url: "COLLECTOR"}, {url: "http://127.0.0.1:1", signals: [logs]}]
metrics: {port: METRICS}
"""
METRICS = free_port()
PLAIN = GATEWAY.replace("models:\n", MODELS) + SETTINGS
COUNTED = "extproc_telemetry_requests_total"
COMPUTED = {"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "65536"}


@pytest.fixture(scope="module")
def managed(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    with up(
        tmp_path_factory.mktemp("managed"), environ={"MODEL_URL": model.url}, config=PLAIN, arguments=ONE_WORKER
    ) as running:
        yield running


def settings(stack: Stack, token: str, **headers: str) -> httpx.Response:
    sent = {"authorization": f"Bearer {token}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx.get(f"{stack.url}/managed/settings", headers=sent, verify=False)


def signed_in(claude: Claude) -> None:
    """As `/login` leaves it. No other test needs this form, which is the client's own affair."""
    url = claude.stack.url.replace("127.0.0.1", "localhost")
    folder = claude.home / ".claude"
    folder.mkdir()
    gateway = {"url": url, "jwt": claude.stack.good_token, "expiresAt": int(time.time() * 1000) + 3_600_000}
    gateway |= {"tokenEndpoint": f"{url}/oauth/token", "vouchedAtLogin": False}
    kept = {"gatewayTrust": {"localhost": "http-loopback"}, "enterpriseGateway": gateway}
    (folder / ".credentials.json").write_text(json.dumps(kept))
    (folder / ".credentials.json").chmod(0o600)


def ask(claude: Claude, **environ: str) -> Run:
    return claude.run([str(claude.binary), *STREAM_JSON, "-p", "demo: say bonjour"], environ)


def statuses(run: Run) -> list[int]:
    """Requests for settings were answered so; the client may ask again at its end, when the log has been read."""
    return [line["http.status"] for line in run.records if line["http.path"] == "/managed/settings"]


def test_a_caller_gets_the_base_and_the_first_row_that_holds(managed: Stack) -> None:
    answer = settings(managed, managed.good_token)
    body: Json = answer.json()
    assert (answer.status_code, answer.headers["etag"]) == (200, f'"{body["checksum"]}"')
    assert body["uuid"] == body["checksum"] and answer.headers["vary"] == "user-agent"
    assert body["settings"] == {
        "availableModels": ["claude-qwen3-coder", "claude-qwen3-small", "claude-tiny"],
        "enforceAvailableModels": True,
        "model": "claude-qwen3-coder",
        "skipWebFetchPreflight": True,
        "permissions": {"deny": ["WebSearch", "Bash(rm *)"]},
        "companyAnnouncements": ["Grüße 😀"],
        "env": {**COMPUTED, "ANTHROPIC_DEFAULT_HAIKU_MODEL": "claude-qwen3-small"},
    }
    assert settings(managed, managed.good_token, if_none_match=answer.headers["etag"]).status_code == 304
    assert settings(managed, managed.good_token, if_none_match="*").status_code == 200


def test_who_may_use_nothing_is_listed_nothing(managed: Stack) -> None:
    found = settings(managed, managed.token(team="security")).json()["settings"]
    assert "availableModels" not in found and "companyAnnouncements" not in found
    assert found["permissions"] == {"deny": ["WebSearch"]} and found["model"] == "claude-qwen3-coder"


@pytest.mark.parametrize("token", ["x", "a.b.c"])
def test_a_stranger_gets_none(managed: Stack, token: str) -> None:
    answer = settings(managed, token)
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
    assert answer.headers["x-should-retry"] == "false"


def test_the_names_in_the_settings_are_resolved(managed: Stack) -> None:
    response = managed.call(
        {"model": "claude-qwen3-small", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    )
    line = managed.record(response)
    assert (response.status_code, response.json()["model"]) == (200, "claude-qwen3-small")
    assert (line["gen_ai.request.model"], line["gen_ai.upstream.model"]) == ("claude-qwen3-small", "gpt-4o-mini")
    refused = managed.call({"model": "claude-secret", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]})
    assert refused.status_code == 403 and "may not use secret" in refused.text


def test_claude_code_starts_with_them_and_computes_the_same_checksum(
    managed: Stack, model: Model, tmp_path: Path
) -> None:
    claude = Claude(NEWEST, install()[NEWEST], managed, model, tmp_path)
    signed_in(claude)
    run = ask(claude)
    assert (run.status, run.result["result"]) == (0, "bonjour") and statuses(run)[0] == 200
    assert run.result["modelUsage"]["claude-qwen3-coder"]["contextWindow"] == 65536
    run = ask(claude)
    assert (run.status, run.result["result"]) == (0, "bonjour") and statuses(run)[0] == 304


def test_a_signed_in_client_asks_for_verdicts(managed: Stack, model: Model, tmp_path: Path) -> None:
    claude = Claude(NEWEST, install()[NEWEST], managed, model, tmp_path)
    signed_in(claude)
    prompt = script(call("Bash", command="curl -s http://127.0.0.1:1/ || touch made.txt"), "demo: say done")
    run = claude.run([str(claude.binary), "--permission-mode", "auto", *STREAM_JSON, "-p", prompt], {})
    assert run.status == 0 and NOT_ALLOWED in str(run.results()) and not (claude.work / "made.txt").exists()
    assert [line["auto_mode.rule"] for line in run.records if line["auto_mode.rule"]] == ["auto_mode.rules.0"]


@pytest.fixture(scope="module")
def collecting() -> Iterator[Collector]:
    with collector() as running:
        yield running


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, model: Model, collecting: Collector) -> Iterator[Stack]:
    port = free_port()
    config = PLAIN + SIGN_IN.replace("PORT", str(port)).replace("COLLECTOR", collecting.url).replace(
        "METRICS", str(METRICS)
    )
    with up(
        tmp_path_factory.mktemp("measured"),
        environ={"MODEL_URL": model.url},
        config=config,
        port=port,
        arguments=ONE_WORKER,
    ) as running:
        yield running


def test_telemetry_of_claude_code_arrives_with_its_verified_sender(
    measured: Stack, model: Model, collecting: Collector, tmp_path: Path
) -> None:
    claude = Claude(NEWEST, install()[NEWEST], measured, model, tmp_path)
    signed_in(claude)
    # What it claims of itself is not what it is.
    run = ask(claude, DISABLE_TELEMETRY="", OTEL_RESOURCE_ATTRIBUTES="user.id=mallory,team.name=ours")
    assert run.status == 0, run.err
    _, body = collecting.arrived(lambda request: request[0] == "/v1/metrics" and b"claude_code" in request[1])
    _, logs = collecting.arrived(lambda request: request[0] == "/v1/logs" and b"claude_code" in request[1])
    assert b"mallory" not in body + logs
    for groups in (
        ExportMetricsServiceRequest.FromString(body).resource_metrics,
        ExportLogsServiceRequest.FromString(logs).resource_logs,
    ):
        [group] = groups
        found = attributes(group.resource)
        assert (found["user.id"], found["identity.source"]) == ("developer@acme.example", "gateway")
        assert (found["service.name"], found["team.name"]) == ("claude-code", "ours")
    records = [
        one
        for scope in ExportLogsServiceRequest.FromString(logs).resource_logs[0].scope_logs
        for one in scope.log_records
    ]
    assert records and not [name for one in records for name in attributes(one) if name.startswith("user.")]


@pytest.mark.parametrize("path", ["/v1/metrics", "/v1/logs", "/v1/traces"])
def test_telemetry_of_strangers_and_garbage_is_refused(measured: Stack, path: str) -> None:
    media = {"content-type": "application/x-protobuf"}
    assert measured.call(b"", path=path, token=None, headers=media).status_code == 401
    garbage = measured.call(b"\xff\xff", path=path, headers=media)
    assert (garbage.status_code, garbage.text) == (400, f"the body is no OTLP request for {path[4:]}")
    assert measured.call(b"x" * (5 << 20), path=path, headers=media).status_code == 413
    empty = measured.call(b"", path=path, headers=media)
    assert (empty.status_code, empty.content) == (200, b"")


def test_what_becomes_of_telemetry_is_counted(measured: Stack, collecting: Collector) -> None:
    media = {"content-type": "application/x-protobuf"}
    assert measured.call(b"", path="/v1/logs", headers=media).status_code == 200
    # One collector takes it, the other is down.
    scraped(f"http://127.0.0.1:{METRICS}/metrics", lambda found: found.total(COUNTED, signal="logs", result="sent") > 0)
    assert measured.call(b"\xff", path="/v1/traces", headers=media).status_code == 400
    scraped(f"http://127.0.0.1:{METRICS}/metrics", lambda found: found.total(COUNTED, result="unreadable") > 0)
    scraped(f"http://127.0.0.1:{METRICS}/metrics", lambda found: found.total(COUNTED, result="failed") > 0)


def test_without_telemetry_the_paths_are_unknown(managed: Stack) -> None:
    assert managed.call(b"", path="/v1/metrics").status_code == 404
