"""The intake of telemetry: who may send, what is answered, and that no collector holds a client up."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from extproc.policy.authentication.authenticate import Authenticate
from extproc.policy.keys.remote_keys import FetchedKeySets
from extproc.store.embedded import EmbeddedStore
from extproc.web import telemetry
from extproc.web.app import application
from extproc.web.context import Clients, Context
from tests.certificates import certificate
from tests.issuing import claims, token
from tests.settings import ENVIRON, GATEWAY, faults, gateway

SECONDS = 10
CONFIG = """
telemetry:
  collectors:
    - {url: "http://all:4318", headers: {authorization: {env: OTLP}}}
    - {url: "http://logs:4318", signals: [logs]}
  identity: {user.id: sub, user.team: team, user.none: missing}
"""
SECRET = ENVIRON | {"OTLP": "Bearer collector-secret"}
Sent = list[httpx.Request]
Collector = Callable[[httpx.Request], Awaitable[httpx.Response]]
Call = Callable[..., Awaitable[httpx.Response]]
Counted = Counter[tuple[str, str]]


class Mocked(Clients):
    def __init__(self, collector: Collector) -> None:
        super().__init__()
        self._client = httpx.AsyncClient(transport=httpx.MockTransport(collector))  # type: ignore[arg-type]

    def trusting(self, roots: str | None = None) -> httpx.AsyncClient:
        return self._client


def play(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    scene: Callable[[Call], Awaitable[None]],
    collector: Collector,
    config: str = CONFIG,
) -> Counted:
    """What has been counted."""
    counted: Counted = Counter()

    def count(signal: str, result: str) -> None:
        counted[signal, result] += 1

    monkeypatch.setattr(telemetry, "_counter", lambda _: count)
    gate = gateway(folder, f"{GATEWAY}\n{config}", SECRET)

    async def run() -> None:
        store = EmbeddedStore(folder / "state")
        context = Context(gate, Authenticate(gate.source, [], FetchedKeySets()), store, Mocked(collector))
        transport = httpx.ASGITransport(application(context))
        async with asyncio.timeout(SECONDS), httpx.AsyncClient(transport=transport, base_url="http://x") as client:

            async def call(path: str, body: bytes, *, bearer: str = token(), **headers: str) -> httpx.Response:
                sent = {"authorization": f"Bearer {bearer}", "content-type": "application/x-protobuf"}
                sent |= {name.replace("_", "-"): value for name, value in headers.items()}
                return await client.post(path, content=body, headers=sent)

            await scene(call)
            if senders := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(senders)
        await store.close()

    asyncio.run(run())
    return counted


def logs() -> bytes:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add().body.string_value = "a line"
    return request.SerializeToString()


def test_it_goes_to_every_collector_that_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: Sent = []

    async def collector(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200)

    async def scene(call: Call) -> None:
        answer = await call("/v1/logs", logs())
        assert (answer.status_code, answer.content) == (200, b"")
        assert (await call("/v1/metrics", b"")).status_code == 200
        answer = await call("/v1/traces", b"{}", content_type="application/json; charset=utf-8")
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"{}", "application/json")

    counted = play(tmp_path, monkeypatch, scene, collector)
    assert counted == {("logs", "sent"): 2, ("metrics", "sent"): 1, ("traces", "sent"): 1}
    urls = sorted(str(request.url) for request in sent)
    assert urls == [
        "http://all:4318/v1/logs", "http://all:4318/v1/metrics", "http://all:4318/v1/traces", "http://logs:4318/v1/logs",
    ]  # fmt: skip
    assert {request.headers.get("authorization") for request in sent if request.url.host == "logs"} == {None}
    assert all(token() not in str(request.headers) for request in sent)
    [resource] = ExportLogsServiceRequest.FromString(sent[0].content).resource_logs
    named = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert named == {"identity.source": "gateway", "user.id": claims()["sub"], "user.team": claims()["team"]}


def test_a_collector_that_hangs_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = asyncio.Event()

    async def collector(_: httpx.Request) -> httpx.Response:
        await release.wait()
        return httpx.Response(200)

    async def scene(call: Call) -> None:
        answers = [await call("/v1/logs", logs()) for _ in range(40)]
        assert {answer.status_code for answer in answers} == {200}
        release.set()

    config = 'telemetry: {collectors: [{url: "http://all:4318", queue_bytes: 65536}]}'
    play(tmp_path, monkeypatch, scene, collector, config)


def test_what_is_too_much_is_dropped_and_the_client_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = asyncio.Event()

    async def collector(_: httpx.Request) -> httpx.Response:
        await release.wait()
        return httpx.Response(200)

    async def scene(call: Call) -> None:
        request = ExportLogsServiceRequest()
        request.resource_logs.add().scope_logs.add().log_records.add().body.string_value = "x" * 30_000
        answers = [await call("/v1/logs", request.SerializeToString()) for _ in range(5)]
        assert {answer.status_code for answer in answers} == {200}
        release.set()

    config = 'telemetry: {collectors: [{url: "http://all:4318", queue_bytes: 65536}]}'
    counted = play(tmp_path, monkeypatch, scene, collector, config)
    assert counted == {("logs", "queue_full"): 3, ("logs", "sent"): 2}


async def _nobody(_: httpx.Request) -> httpx.Response:
    raise AssertionError


def test_without_a_collector_it_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(call: Call) -> None:
        assert (await call("/v1/logs", logs())).status_code == 200

    assert play(tmp_path, monkeypatch, scene, _nobody, "telemetry: {}") == {("logs", "no_collector"): 1}


def test_strangers_and_garbage_go_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(call: Call) -> None:
        refused = await call("/v1/logs", logs(), bearer="x")
        assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")
        garbage = await call("/v1/logs", b"\xff")
        assert (garbage.status_code, garbage.text) == (400, "the body is no OTLP request for logs")
        assert (await call("/v1/logs", b"x" * (5 << 20))).status_code == 413

    assert play(tmp_path, monkeypatch, scene, _nobody) == {("logs", "unreadable"): 1}


@pytest.mark.parametrize(
    ("collector", "fault"),
    [
        ({"url": "otel:4318"}, "telemetry.collectors.0.url: expected the URL of a collector without a path"),
        ({"url": "http://otel:4318/v1/logs"}, "telemetry.collectors.0.url: expected the URL of a collector"),
        ({"url": "http://user:secret@otel"}, "telemetry.collectors.0.url: expected the URL of a collector"),
        ({"url": "http://otel", "signals": ["spans"]}, "telemetry.collectors.0.signals.0: "),
        (
            {"url": "http://otel", "headers": {"a": {"env": "MISSING"}}},
            "telemetry.collectors.0.headers.a: the environment",
        ),
        ({"url": "http://otel", "ca_file": "none.pem"}, "telemetry.collectors.0.ca_file: none.pem cannot be read"),
        ({"url": "http://otel", "ca_file": "empty.pem"}, "telemetry.collectors.0.ca_file: empty.pem holds no cert"),
    ],
)
def test_a_mistake_is_found_by_check(tmp_path: Path, collector: Any, fault: str) -> None:
    (tmp_path / "empty.pem").write_text("# no certificate")
    found = faults(tmp_path, f"{GATEWAY}\ntelemetry: {json.dumps({'collectors': [collector]})}\n")
    assert any(fault in one for one in found) and "secret" not in str(found), found


PAGE = (Path(__file__).resolve().parents[2] / "docs" / "telemetry.md").read_text("utf-8")


def test_the_example_of_the_page(tmp_path: Path) -> None:
    [example] = re.findall(r"```yaml\n(telemetry:.*?)```", PAGE, re.DOTALL)
    certificate(tmp_path, "otlp.vendor.example")
    (tmp_path / "keys").mkdir()
    (tmp_path / "ca.pem").rename(tmp_path / "keys/company-ca.pem")
    gate = gateway(tmp_path, f"{GATEWAY}\n{example}", ENVIRON | {"OTLP_AUTHORIZATION": "Bearer t"})
    assert [collector.url for collector in gate.collectors] == [
        "http://otel-collector:4318",
        "https://otlp.vendor.example",
    ]
