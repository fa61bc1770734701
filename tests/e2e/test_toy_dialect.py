"""A fourth dialect, which an installed package adds: to and from the three others, through the real Envoy."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.canned import Canned, Upstream, upstream
from tests.e2e.stack import GATEWAY, ONE_WORKER, PROVIDER_KEY, SECONDS, Json, Stack, up
from tests.e2e.toy_dialect.spoken import PARIS, PROBLEM, SPOKEN, TEXT, TOY, Spoken, events
from tests.imports import ROOT

PAIRS = [("toy", other) for other in SPOKEN] + [(other, "toy") for other in SPOKEN if other != "toy"]
EVENTS = "text/event-stream"


def install(folder: Path) -> dict[str, str]:
    """As `pip install` would: metadata with an entry point, where Python looks. Returns what the environment needs."""
    metadata = folder / "site" / "toy_dialect-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-dialect\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[extproc.dialects]\ntoy = tests.e2e.toy_dialect:add\n")
    return {"PYTHONPATH": f"{folder / 'site'}:{ROOT}"}


def configuration(url: str) -> str:
    config = yaml.safe_load(GATEWAY.replace("${MODEL_URL}", "http://unused"))
    key = {"api_key": {"env": "MODEL_KEY"}}
    config["providers"] = {name: {"dialects": [name], "base_url": url, **key} for name in SPOKEN}
    config["providers"]["both"] = {"dialects": ["toy", "chat"], "base_url": url, **key, "prefer": ["toy", "chat"]}
    config["models"] = [{"name": f"{name}-*", "provider": name} for name in config["providers"]]
    config["routes"] = [{"path": "/words", "serve": "toy"}]
    return yaml.safe_dump(config)


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    with upstream() as running:
        for name, spoken in SPOKEN.items():
            running.answers[f"{name}-text"] = Canned(json.dumps(spoken.text).encode())
            running.answers[f"{name}-call"] = Canned(json.dumps(spoken.call).encode())
            running.answers[f"{name}-error"] = Canned(json.dumps(spoken.error).encode(), spoken.error_status)
            cuts = tuple(range(7, len(spoken.stream), 50))
            running.answers[f"{name}-stream"] = Canned(spoken.stream, media=EVENTS, cuts=cuts)
            running.answers[f"{name}-broken"] = Canned(spoken.stream[: len(spoken.stream) // 2], media=EVENTS)
        running.answers["both-text"] = running.answers["toy-text"]
        yield running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, provider: Upstream) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("toy-dialect")
    with up(folder, config=configuration(provider.url), environ=install(folder), arguments=ONE_WORKER) as running:
        yield running


def ask(gateway: Stack, client: Spoken, model: str, **more: object) -> Json:
    answer = gateway.call({"model": model, **client.question, **more}, path=client.path)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


@pytest.mark.parametrize(("client", "other"), PAIRS)
def test_text(gateway: Stack, provider: Upstream, client: str, other: str) -> None:
    assert SPOKEN[client].read_text(ask(gateway, SPOKEN[client], f"{other}-text")) == TEXT
    assert provider.paths[f"{other}-text"] == SPOKEN[other].provider_path
    sent = json.dumps(provider.received[f"{other}-text"])
    assert all(word in sent for word in ("be brief", "weather?", "Paris", "sunny", "and now?", "tells it"))
    if other == "toy":
        assert provider.received["toy-text"] == {"model": "toy-text", "stream": False, **TOY.question}
        assert provider.headers["toy-text"]["x-toy-key"] == PROVIDER_KEY
        assert "authorization" not in provider.headers["toy-text"]


@pytest.mark.parametrize(("client", "other"), PAIRS)
def test_a_tool_call(gateway: Stack, client: str, other: str) -> None:
    assert SPOKEN[client].read_call(ask(gateway, SPOKEN[client], f"{other}-call")) == ("weather", PARIS)


@pytest.mark.parametrize(("client", "other"), PAIRS)
def test_an_error(gateway: Stack, client: str, other: str) -> None:
    spoken = SPOKEN[client]
    answer = gateway.call({"model": f"{other}-error", **spoken.question}, path=spoken.path)
    assert answer.status_code == spoken.error_status
    assert PROBLEM in spoken.read_error(answer.json())


@pytest.mark.parametrize(("client", "other"), PAIRS)
def test_a_stream(gateway: Stack, client: str, other: str) -> None:
    spoken = SPOKEN[client]
    answer = gateway.call({"model": f"{other}-stream", **spoken.question, "stream": True}, path=spoken.path)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith(EVENTS)
    assert spoken.read_stream(events(answer.content)) == TEXT


@pytest.mark.parametrize("other", SPOKEN)
def test_a_stream_that_breaks_off(gateway: Stack, other: str) -> None:
    answer = gateway.call({"model": f"{other}-broken", **TOY.question, "stream": True}, path=TOY.path)
    name, data = events(answer.content)[-1]
    assert name == "oops" and data["kind"] == "api_error"


def test_the_gateways_own_refusals(gateway: Stack) -> None:
    unknown = gateway.call({"model": "none", **TOY.question}, path=TOY.path)
    assert (unknown.status_code, unknown.json()["where"]) == (404, "model")
    for headers in ({"authorization": "Bearer x"}, {"connection": "upgrade", "upgrade": "websocket"}):
        refused = gateway.call(dict(TOY.question), path=TOY.path, token=None, headers=headers)
        assert refused.status_code in (400, 401) and refused.json().keys() == {"oops", "kind", "where", "call"}
    wrong = gateway.call({"model": "toy-text", "lines": ["hello"]}, path=TOY.path)
    assert (wrong.status_code, wrong.json()["where"]) == (400, "lines.0")


def test_the_record(gateway: Stack) -> None:
    answer = gateway.call({"model": "chat-text", **TOY.question}, path=TOY.path)
    line = gateway.record(answer)
    assert (line["endpoint"], line["gen_ai.usage.output_tokens"]) == ("toy", 5)


@pytest.mark.parametrize("path", ["/words", "/words/toy/say", "/anthropic/toy/say"])
def test_routes_serve_it(gateway: Stack, path: str) -> None:
    answer = gateway.call({"model": "toy-text", **TOY.question}, path=path)
    assert answer.status_code == 200 and TOY.read_text(answer.json()) == TEXT


def test_it_can_be_preferred(gateway: Stack, provider: Upstream) -> None:
    ask(gateway, SPOKEN["responses"], "both-text")
    assert provider.paths["both-text"] == TOY.provider_path


def test_a_heavy_body(gateway: Stack, provider: Upstream) -> None:
    """The process that translates it has loaded the dialect, too."""
    lines = [*TOY.question["lines"], *(f"> {n}" for n in range(33_000))]
    body = {"model": "chat-text", **TOY.question, "lines": lines}
    deadline = time.monotonic() + SECONDS
    while (answer := gateway.call(body, path=TOY.path)).status_code == 503 and time.monotonic() < deadline:
        pass  # it has not started in time; the gateway asks for another call
    assert answer.status_code == 200 and TOY.read_text(answer.json()) == TEXT
    assert provider.received["chat-text"]["messages"][-1]["content"].endswith("32999")


def run(folder: Path, environ: dict[str, str], *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "extproc", *words]
    environ = {"PATH": "/usr/bin:/bin", "MODEL_KEY": PROVIDER_KEY, **environ}
    return subprocess.run(command, cwd=folder, env=environ, input=stdin, capture_output=True, text=True, check=False)


def test_commands_with_the_package_and_without(tmp_path: Path) -> None:
    environ = install(tmp_path)
    (tmp_path / "gateway.yaml").write_text(configuration("http://localhost:1/v1"))
    found = run(tmp_path, {}, "check")
    assert found.returncode and "providers.toy.dialects.0: Input should be 'messages', 'chat'" in found.stderr
    shown = run(
        tmp_path, environ, "translate", "request", "--client", "toy", "--model", "chat-x", stdin='{"lines": ["> hi"]}'
    )
    assert json.loads(shown.stdout)["messages"] == [{"role": "user", "content": "hi"}], shown.stderr
    run(tmp_path, {}, "token")  # makes the lab's keys
    decided = run(tmp_path, environ, "check", "--token", "none", "--path", "/toy/say", "--model", "toy-x")
    assert decided.returncode == 1 and '"oops"' in decided.stdout, decided.stderr
    printed = run(tmp_path, environ, "envoy-config")
    assert printed.returncode == 0, printed.stderr
    assert '"oops"' in printed.stdout and "/toy/say" in printed.stdout
