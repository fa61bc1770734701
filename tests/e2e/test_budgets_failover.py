"""The primary that counts is killed under load, and Sentinel makes its replica the next one."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from tests import redis_topologies
from tests.e2e.raw_provider import FINE, RawProvider
from tests.e2e.stack import SECONDS, Stack, prompt, up
from tests.redis_topologies import IMPATIENT, PASSWORD, SENTINEL_PASSWORD, Topology

LIMIT, CALLERS = 600, 4
LOOK_SECONDS = 0.02
"""Between a refusal and the next call, while there is no primary."""
CONFIG = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
providers:
  own: {dialects: [chat], base_url: "${RAW_URL}"}
models:
  - {name: "*", provider: own}
budgets:
  - {name: some, key: jwt.sub, limit: {requests: LIMIT}, per: day}
  - {name: at-once, key: jwt.sub, limit: {concurrent: 50}}
store:
  redis:
    url: "URL"
    username: gateway
    password: {env: REDIS_PASSWORD}
    sentinel: {password: {env: SENTINEL_PASSWORD}}
    ca_file: "ROOTS"
    timeout: 5
workers: 2
"""


@dataclass
class Machine:
    stack: Stack
    topology: Topology


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with ExitStack() as running:
        topology = running.enter_context(redis_topologies.sentinel(tmp_path_factory.mktemp("redis"), IMPATIENT))
        provider = running.enter_context(RawProvider().serving())
        provider.plays(FINE)
        config = CONFIG.replace("LIMIT", str(LIMIT)).replace('"URL"', f'"{topology.url}"')
        config = config.replace("ROOTS", topology.ca_file)
        environ = {
            "RAW_URL": provider.url,
            "REDIS_PASSWORD": PASSWORD,
            "SENTINEL_PASSWORD": SENTINEL_PASSWORD,
        }
        stack = running.enter_context(up(tmp_path_factory.mktemp("gateway"), environ=environ, config=config))
        yield Machine(stack, topology)


@dataclass
class Load:
    """Calls by several clients at once, until all are refused because the limit is reached."""

    machine: Machine
    token: str
    found: list[tuple[float, int]] = field(default_factory=list)
    """When a call was answered, and with which status."""
    progress: threading.Event = field(default_factory=threading.Event)

    def run(self, _number: int) -> None:
        deadline = time.monotonic() + 2 * SECONDS
        status = 0
        while status != 429:
            assert time.monotonic() < deadline, "the limit was never reached"
            status = self.machine.stack.call(prompt("q", max_tokens=2), token=self.token).status_code
            self.found.append((time.monotonic(), status))
            if len(self.found) > LIMIT // 4:
                self.progress.set()
            if status == 503:
                time.sleep(LOOK_SECONDS)

    def count(self, status: int, since: float, until: float = float("inf")) -> int:
        return sum(got == status and since < at < until for at, got in self.found)


def test_the_primary_is_killed_under_load(machine: Machine) -> None:
    """Calls are refused until there is another. The limit holds, but for what the primary had granted in its last
    moments and not sent to its replica."""
    load = Load(machine, machine.stack.token(claims={"sub": "ann"}))
    with ThreadPoolExecutor(CALLERS) as pool:
        running = [pool.submit(load.run, number) for number in range(CALLERS)]
        assert load.progress.wait(SECONDS)
        before = time.monotonic()
        machine.topology.budgets.stop()
        killed = time.monotonic()
        for one in running:
            one.result()
    assert {status for _, status in load.found} == {200, 429, 503}
    refused = [at for at, status in load.found if status == 503]
    assert before < min(refused) and load.count(200, max(refused)) > 0
    answered, unsure = load.count(200, 0), 2 * CALLERS + load.count(200, before - 0.1, killed)
    assert LIMIT - unsure <= answered <= LIMIT + unsure
    assert not any(secret in machine.stack.printed for secret in (PASSWORD, SENTINEL_PASSWORD))
    machine.stack.err.says("counters of budgets can be kept again")
