"""compose.yaml on a real Docker engine: what it lets through, what its containers may do, and how they end."""

import contextlib
import json
import os
import re
import shutil
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.compose import images
from tests.compose.engine import ROOT, Engine, Failed
from tests.compose.project import SERVICES, Project, project, wait_for
from tests.e2e.stack import PROVIDER_KEY, SECONDS, prompt, text_of

MEGABYTE = 1_000_000
TEXT = " ".join(f"word{number}" for number in range(40))


@contextlib.contextmanager
def streaming(gateway: Project, text: str) -> Iterator[Iterator[str]]:
    """Lines of the answer, as they come."""
    headers = {"authorization": f"Bearer {gateway.good_token}"}
    body = prompt(text, model="demo", stream=True)
    with httpx.stream(
        "POST", f"{gateway.url}/v1/messages", json=body, headers=headers, timeout=SECONDS, verify=False
    ) as answer:
        assert answer.status_code == 200
        yield answer.iter_lines()


def said(lines: Iterable[str]) -> str:
    data = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    return "".join(event["delta"].get("text", "") for event in data if event["type"] == "content_block_delta")


def test_no_token(gateway: Project) -> None:
    assert gateway.call(token="").status_code == 401


def test_the_wrong_team(gateway: Project) -> None:
    assert gateway.call(token=gateway.token("--team", "marketing")).status_code == 403


def test_json(gateway: Project) -> None:
    answer = gateway.call()
    assert (answer.status_code, text_of(answer.json())) == (200, "bonjour")


def test_a_stream(gateway: Project) -> None:
    with streaming(gateway, "demo: say bonjour") as lines:
        assert said(lines) == "bonjour"


def test_the_demo_says_how_to_go_on(gateway: Project) -> None:
    told = gateway.compose("logs", "demo")
    [command] = re.findall(r"TOKEN=\$\(docker compose (.*)\)", told)
    assert gateway.call(token=gateway.compose(*command.split()).strip()).status_code == 200
    assert f"curl {gateway.url.removeprefix('http://')}/v1/messages " in told


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_rights(gateway: Project, service: str) -> None:
    """Not root, no capability for any of its processes, nothing to write on."""
    shell = ["/bin/busybox"] if service == "envoy" else []
    status = dict(line.split(":\t") for line in gateway.execute(service, *shell, "cat", "/proc/1/status").splitlines())
    assert status["Uid"].split() == ["65532"] * 4
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd")} == {0}
    assert status["NoNewPrivs"] == "1"
    for place in ("/", "/usr/local/bin", "/etc"):
        with pytest.raises(Failed, match=r"[Rr]ead-only file system"):
            gateway.execute(service, *shell, "touch", f"{place}/here")


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_a_limit(gateway: Project, service: str) -> None:
    settings = gateway.inspect(service)["HostConfig"]
    assert 0 < settings["Memory"] <= 4 * 2**30 and 0 < settings["PidsLimit"] <= 512


def test_envoys_administration_is_on_loopback_in_parts_alone(gateway: Project) -> None:
    wget = ("/bin/busybox", "wget", "-q", "-O", "-")
    assert "LIVE" in gateway.execute("envoy", *wget, "http://127.0.0.1:9901/ready")
    for path in ("config_dump", "certs"):
        with pytest.raises(Failed):
            gateway.execute("envoy", *wget, f"http://127.0.0.1:9901/{path}")
    with pytest.raises(Failed):
        gateway.execute("envoy", *wget, "--post-data=", "http://127.0.0.1:9901/quitquitquit")
    assert gateway.status() == 200


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_is_healthy(gateway: Project, service: str) -> None:
    wait_for(lambda: gateway.inspect(service)["State"]["Health"]["Status"] == "healthy")


def test_the_providers_key_is_nowhere_to_be_seen(gateway: Project) -> None:
    """Its processor has it, and asks the provider with it."""
    assert gateway.call(model="gpt-4o").status_code == 200
    assert gateway.execute("processor", "cat", "/run/secrets/openai_api_key") == PROVIDER_KEY
    shown = [json.dumps(gateway.inspect(service)) for service in (*SERVICES, "lab", "demo")]
    rendered = gateway.execute("envoy", "/bin/busybox", "sh", "-c", "cat /run/envoy/*.json")
    for text in (*shown, rendered, gateway.compose("logs")):
        assert PROVIDER_KEY not in text and gateway.good_token not in text


@pytest.mark.parametrize("name", [images.PROCESSOR, images.GATEWAY])
def test_images_are_small(engine: Engine, name: str) -> None:
    [found] = json.loads(engine.docker("image", "inspect", name))
    assert found["Size"] < 210 * MEGABYTE
    assert PROVIDER_KEY not in engine.docker("history", "--no-trunc", name)


def test_without_its_processor_nothing_passes(gateway: Project) -> None:
    gateway.becomes(200)
    gateway.engine.docker("kill", gateway.container("processor"))
    gateway.becomes(503)
    gateway.compose("start", "processor")
    gateway.becomes(200)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may kill what runs in a container")
@pytest.mark.parametrize("service", ["processor", "envoy"])
def test_what_dies_is_started_again(gateway: Project, service: str) -> None:
    """As a crash is; `docker kill` counts as somebody's wish."""
    gateway.becomes(200)
    before = gateway.inspect(service)
    os.kill(before["State"]["Pid"], signal.SIGKILL)
    wait_for(lambda: gateway.inspect(service)["RestartCount"] > before["RestartCount"])
    gateway.becomes(200)


def test_stopping_lets_a_running_stream_finish(gateway: Project) -> None:
    gateway.becomes(200)
    with streaming(gateway, f"demo: say {TEXT}\ndemo: slow 200") as lines:
        assert next(lines).startswith("event: message_start")
        gateway.compose("stop")
        rest = list(lines)
    assert said(rest) == TEXT
    assert "event: message_stop" in rest
    assert {service: gateway.inspect(service)["State"]["ExitCode"] for service in SERVICES} == dict.fromkeys(
        SERVICES, 0
    )
    gateway.compose("start")
    gateway.becomes(200)


def test_changed_files_are_taken(engine: Engine, tmp_path: Path) -> None:
    """The configuration renamed over, as editors do it, the key written in place; Envoy follows in its container."""
    folder, key = tmp_path / "folder", tmp_path / "key"
    shutil.copytree(ROOT / "deploy" / "compose", folder)
    key.write_text(PROVIDER_KEY)
    with project(engine, "extproc-test-reload", key, GATEWAY_FOLDER=str(folder)) as running:
        statuses = {running.status()}
        text = (folder / "gateway.yaml").read_text()
        (folder / "new").write_text(
            text.replace("\n  demo:", "\n  renamed:").replace("provider: demo,", "provider: renamed,")
        )
        (folder / "new").replace(folder / "gateway.yaml")

        def served_by_the_new() -> bool:
            statuses.add(running.status())
            return '"gen_ai.provider.name":"renamed"' in running.compose("logs", "envoy")

        wait_for(served_by_the_new)
        assert statuses == {200}
        key.write_text(f"{PROVIDER_KEY}-new")
        wait_for(lambda: "configuration 3 is in force" in running.compose("logs", "processor"))


def test_over_tcp(engine: Engine, key: Path) -> None:
    """With the certificates that `lab` has made; nobody else in the network is served."""
    with project(engine, "extproc-test-tcp", key, PROCESSOR="processor:9000") as running:
        assert running.call(token="").status_code == 401
        assert running.call().status_code == 200
        shown = json.loads(running.execute("envoy", "/bin/busybox", "cat", "/run/envoy/clusters.json"))
        [processor] = [cluster for cluster in shown["resources"] if cluster["name"] == "extproc"]
        assert "processor" in json.dumps(processor) and "pipe" not in json.dumps(processor)
        assert processor["transport_socket"]["name"] == "envoy.transport_sockets.tls"
        health = ("extproc", "health", "--processor", "processor:9000", "--config")
        assert running.execute("processor", *health, "/etc/extproc/gateway.yaml") == ""
        for service in ("processor", "model"):
            with pytest.raises(Failed):
                running.execute(service, *health, "/nowhere.yaml")
        with pytest.raises(Failed):
            running.execute("envoy", "/bin/busybox", "ls", "/run/tls/processor")
