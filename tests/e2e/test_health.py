"""Readiness as Kubernetes and compose see it: a worker that hangs does not serve, and who leaves is not ready."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.bare import Setup, configured, processor
from tests.e2e.processes import children
from tests.e2e.stack import GATEWAY, SECONDS, Json, Model, Stack, free_port, up


def ready(port: int) -> tuple[int, Json]:
    answer = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=SECONDS, verify=False)
    return answer.status_code, answer.json()


def await_status(port: int, said: str) -> tuple[int, Json]:
    deadline = time.monotonic() + SECONDS
    while (found := ready(port))[1]["status"] != said:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def workers(of: int) -> list[int]:
    return [pid for pid, line in children(of).items() if "extproc.transport.worker" in line]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[tuple[Stack, int]]:
    """With the port of its health checks. Each test leaves it ready."""
    port = free_port()
    config = f"{GATEWAY}\nhealth: {{port: {port}}}\nworkers: 2\n"
    with up(tmp_path_factory.mktemp("health"), environ={"MODEL_URL": model.url}, config=config) as stack:
        yield stack, port


def test_one_worker_that_hangs_leaves_it_ready_two_do_not(watched: tuple[Stack, int]) -> None:
    stack, port = watched
    both = workers(stack.process.pid)
    assert len(both) == 2
    try:
        os.kill(both[0], signal.SIGSTOP)
        status, detail = ready(port)
        assert (status, detail.pop("status")) == (200, "ready")
        assert detail.pop("envoy") == "serving"
        assert sorted(detail.values()) == ["not serving", "serving"]
        os.kill(both[1], signal.SIGSTOP)
        gone = {"worker-0": "not serving", "worker-1": "not serving"}
        assert ready(port) == (503, {"status": "not ready", "envoy": "serving", **gone})
    finally:
        for pid in both:
            os.kill(pid, signal.SIGCONT)
    assert await_status(port, "ready")[0] == 200


def test_without_envoy_it_is_not_ready(watched: tuple[Stack, int]) -> None:
    stack, port = watched
    [envoy] = [pid for pid, line in children(stack.process.pid).items() if "bootstrap.json" in line]
    os.kill(envoy, signal.SIGSTOP)
    try:
        serving = {"worker-0": "serving", "worker-1": "serving"}
        assert ready(port) == (503, {"status": "not ready", "envoy": "not serving", **serving})
        assert httpx.get(f"http://127.0.0.1:{port}/livez", timeout=SECONDS, verify=False).status_code == 200
    finally:
        os.kill(envoy, signal.SIGCONT)
    assert await_status(port, "ready")[0] == 200


@pytest.fixture
def setup(model: Model) -> Iterator[Setup]:
    with configured(model.url) as made:
        yield made


def test_who_leaves_is_not_ready(setup: Setup, port: int) -> None:
    with setup.path.open("a") as config:
        config.write(f"health: {{port: {port}}}\n")
    with processor(setup, f"unix:{setup.folder}/p.sock") as (process, _):
        assert ready(port) == (200, {"status": "ready", "worker-0": "serving"})
        process.send_signal(signal.SIGTERM)
        assert await_status(port, "leaving")[0] == 503


@pytest.mark.parametrize("key", ["health", "metrics"])
def test_a_port_that_is_taken_is_said(setup: Setup, port: int, key: str) -> None:
    with setup.path.open("a") as config:
        config.write(f"{key}: {{port: {port}}}\n")
    with socket.create_server(("127.0.0.1", port)):
        argv = [sys.executable, "-m", "extproc", "serve", "--processor", f"unix:{setup.folder}/p.sock"]
        ran = subprocess.run(
            argv, cwd=setup.folder, env=setup.environ, capture_output=True, text=True, timeout=60, check=False
        )
    problem = f"cannot listen on 127.0.0.1:{port}: Address already in use; see `{key}` in the file\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", problem)


def test_who_answers_has_written_envoys_files(setup: Setup, port: int) -> None:
    """Kubernetes starts Envoy's container as soon as there is an answer."""
    with setup.path.open("a") as config:
        config.write(f"health: {{port: {port}}}\n")
    with socket.create_server(("127.0.0.1", port)):
        argv = [
            sys.executable,
            "-m",
            "extproc",
            "serve",
            "--processor",
            f"unix:{setup.folder}/p.sock",
            "--envoy-folder",
            ".",
        ]
        ran = subprocess.run(argv, cwd=setup.folder, env=setup.environ, capture_output=True, timeout=60, check=False)
    assert ran.returncode == 1 and (setup.folder / "bootstrap.json").exists()
