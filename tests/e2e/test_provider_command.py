"""`extproc provider`: an operator takes a provider out of a running gateway, and back."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.bare import configured, processor
from tests.e2e.processes import children
from tests.e2e.reloading import Reloads
from tests.e2e.stack import GATEWAY, SECONDS, Model, Stack, free_port, prompt, up

CONFIG = GATEWAY.replace("models:", '  other: {dialects: [chat], base_url: "http://127.0.0.1:9"}\nmodels:')
BOTH = "openai  available\nother   available\n"
NO_OTHER = "openai  available\nother   drained\n"


def provider(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "extproc", "provider", *words]
    environ = {"PATH": os.environ["PATH"], "HOME": str(stack.folder)}
    return subprocess.run(
        command, cwd=stack.folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def listed(stack: Stack) -> str:
    done = provider(stack, "list")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, model: Model, port: int) -> Iterator[Stack]:
    config = f"{CONFIG}\nhealth: {{port: {port}}}\nworkers: 2\n"
    with up(tmp_path_factory.mktemp("provider"), environ={"MODEL_URL": model.url}, config=config) as stack:
        yield stack


def test_drain_and_resume(stack: Stack, port: int) -> None:
    assert listed(stack) == BOTH
    done = provider(stack, "drain", "other")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("other is drained: models with other providers no longer ask it.")
    assert listed(stack) == NO_OTHER
    status = httpx.get(f"http://127.0.0.1:{port}/status", timeout=SECONDS, verify=False).json()
    assert status["providers"] == {"openai": {"state": "available"}, "other": {"state": "drained"}}
    stack.err.first(lambda line: "other is left out until it is resumed: drained by hand" in line or None)
    done = provider(stack, "resume", "other")
    assert (done.returncode, done.stdout, done.stderr) == (0, "other is available\n", "")
    assert listed(stack) == BOTH


def test_a_reload_and_a_crash_of_workers_change_nothing(stack: Stack) -> None:
    """Nor does a model notice that has no other provider."""
    assert provider(stack, "drain", "openai").returncode == 0
    Reloads(stack).now()
    for pid, line in children(stack.process.pid).items():
        if "extproc.transport.worker" in line:
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + SECONDS
    while stack.call(prompt("demo: say hi")).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert listed(stack) == "openai  drained\nother   available\n"


def test_of_a_processor_alone(model: Model) -> None:
    with configured(model.url, CONFIG) as setup:

        def ask() -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "extproc", "provider", "list"]
            return subprocess.run(
                command, cwd=setup.folder, env=setup.environ, capture_output=True, text=True, check=False
            )

        with processor(setup, f"unix:{setup.folder}/p.sock"):
            assert ask().stdout == BOTH
        assert ask().returncode == 1
