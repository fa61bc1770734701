"""Two gateways that share nothing, and what clients see when one of them, or only its processor, is killed.

Each with a processor of its own (deploy/kubernetes/sidecar.yaml), alone and behind envoy/balancer.yaml; and each
with all processors (deploy/kubernetes/envoy-gateway.yaml).
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import httpx
import pytest
import yaml

from extproc.supervisor import up
from tests.e2e.bare import Setup, bare_envoy, configured, envoy_in, processor, started, wait_for_processors
from tests.e2e.processes import children
from tests.e2e.stack import GATEWAY, SECONDS, Json, Lines, Model, Stack, free_port, prompt
from tests.e2e.test_drain import SteadyCalls
from tests.manifests import ROOT

IN_FLIGHT = 2  # threads of a SteadyCalls


@dataclass
class Machine:
    setup: Setup
    health: int
    """Port of /readyz."""

    def processor(self) -> AbstractContextManager[tuple[subprocess.Popen[str], Lines]]:
        """Keeps the files of its Envoy."""
        folder = self.setup.folder
        return processor(self.setup, f"unix:{folder}/p.sock", "--envoy-folder", str(folder))


@pytest.fixture
def machines(model: Model) -> Iterator[list[Machine]]:
    """Two, with the same configuration and the same issuer."""
    with contextlib.ExitStack() as later:
        ports = [free_port(), free_port()]
        texts = [f"{GATEWAY}health: {{port: {port}}}\n" for port in ports]
        setups = [later.enter_context(configured(model.url, text)) for text in texts]
        shutil.copytree(setups[0].folder / "keys", setups[1].folder / "keys", dirs_exist_ok=True)
        yield [Machine(setup, port) for setup, port in zip(setups, ports, strict=True)]


def kill(process: subprocess.Popen[str]) -> None:
    """With its worker, as the end of a machine does it."""
    family = children(process.pid)
    process.kill()
    process.wait(SECONDS)
    for child in family:
        os.kill(child, signal.SIGKILL)


@contextlib.contextmanager
def each_with_its_own(machines: Sequence[Machine]) -> Iterator[list[tuple[subprocess.Popen[str], Stack]]]:
    """Its processor and its Envoy."""
    with contextlib.ExitStack() as later:
        processors = [later.enter_context(one.processor())[0] for one in machines]
        stacks = [later.enter_context(envoy_in(one.setup, healthy=1)) for one in machines]
        yield list(zip(processors, stacks, strict=True))


class Balancer:
    def __init__(self, stack: Stack, admin: int) -> None:
        self.stack = stack
        self._admin = f"http://127.0.0.1:{admin}/stats?format=json&filter=cluster.gateways.membership_healthy"

    def await_ready(self, count: int) -> None:
        """So many gateways."""
        deadline = time.monotonic() + SECONDS
        while self._ready() != count:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def _ready(self) -> int | None:
        try:
            [stat] = httpx.get(self._admin, timeout=SECONDS, verify=False).json()["stats"]
        except httpx.ConnectError:
            return None  # it is about to start
        found: int = stat["value"]
        return found


@contextlib.contextmanager
def balancer(machines: Sequence[Machine]) -> Iterator[Balancer]:
    """envoy/balancer.yaml, with other addresses in it."""
    folder, port, admin = machines[0].setup.folder, free_port(), free_port()
    made = yaml.safe_load((ROOT / "envoy/balancer.yaml").read_text())
    made["admin"]["address"] = at(admin)
    made["static_resources"]["listeners"][0]["address"] = at(port)
    [endpoints] = made["static_resources"]["clusters"][0]["load_assignment"]["endpoints"]
    for one, of in zip(machines, endpoints["lb_endpoints"], strict=True):
        of["endpoint"]["address"] = at(one.setup.port)
        of["endpoint"]["health_check_config"]["port_value"] = one.health
    (folder / "balancer.json").write_text(json.dumps(made))
    argv = [up.binary_path(), "-c", "balancer.json", "--disable-hot-restart", "--log-level", "warn"]
    with started(argv, folder, {}) as (process, out, err):
        running = Balancer(Stack(f"http://127.0.0.1:{port}", folder, process, out, err), admin)
        running.await_ready(len(machines))
        yield running


def at(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def test_a_killed_processor(machines: list[Machine]) -> None:
    """Its gateway is closed until it is back; the other notices nothing."""
    with each_with_its_own(machines) as [(ours, first), (_, second)]:
        with SteadyCalls(first) as hit, SteadyCalls(second) as spared:
            hit.await_more(10)
            kill(ours)
            hit.await_more(20)
            spared.await_more(10)
            with machines[0].processor():
                wait_for_processors(machines[0].setup, 1)
                hit.await_more(10)
                assert first.call(prompt("hello")).status_code == 200
        assert set(spared.statuses) == {200}
        assert set(hit.statuses) == {200, 503}
        assert hit.statuses[:10] == [200] * 10


def test_a_killed_processor_behind_a_balancer(machines: list[Machine]) -> None:
    """503 until the balancer has asked, then nothing until it is back, and nothing after that."""
    with (
        each_with_its_own(machines) as [(ours, _), _],
        balancer(machines) as front,
        contextlib.ExitStack() as later,
        SteadyCalls(front.stack) as calls,
    ):
        calls.await_more(10)
        kill(ours)
        front.await_ready(1)
        calls.await_more(IN_FLIGHT)
        noticed = len(calls.statuses)
        calls.await_more(20)
        later.enter_context(machines[0].processor())
        front.await_ready(2)
        calls.await_more(20)
    assert calls.statuses[:10] == [200] * 10
    assert set(calls.statuses) <= {200, 503} and calls.begun_after(noticed) == {200}


def test_a_killed_machine_behind_a_balancer(machines: list[Machine]) -> None:
    """No call is lost, whether the balancer has noticed or not; only an answer that has begun is cut."""
    with (
        each_with_its_own(machines) as [(ours, first), _],
        balancer(machines) as front,
        SteadyCalls(front.stack) as calls,
    ):
        first.record_where(lambda line: bool(line["http.status"] == 200))
        kill(first.process)
        kill(ours)
        calls.await_more(20)
        front.await_ready(1)
        calls.await_more(20)
    assert set(calls.statuses) == {200}


def test_a_killed_processor_where_each_envoy_knows_all(machines: list[Machine]) -> None:
    """What was in the hands of the killed one may fail; nothing that comes later does."""
    with contextlib.ExitStack() as later:
        addresses = [f"127.0.0.1:{free_port()}" for _ in machines]
        ours, _ = (
            later.enter_context(processor(one.setup, address))[0]
            for one, address in zip(machines, addresses, strict=True)
        )
        stacks = [later.enter_context(bare_envoy(one.setup, addresses, healthy=2)) for one in machines]
        with SteadyCalls(stacks[0]) as first, SteadyCalls(stacks[1]) as second:
            for calls in (first, second):
                calls.await_more(10)
            kill(ours)
            for calls in (first, second):
                calls.await_more(20)
        for calls in (first, second):
            failed = [status for status in calls.statuses if status != 200]
            assert len(failed) <= IN_FLIGHT and set(failed) <= {503}


def test_a_token_is_good_everywhere(machines: list[Machine]) -> None:
    """There is no session: what one machine has served, the other serves."""
    with each_with_its_own(machines) as running:
        token = running[0][1].token()
        assert [stack.call(prompt("hello"), token=token).status_code for _, stack in running] == [200, 200]
