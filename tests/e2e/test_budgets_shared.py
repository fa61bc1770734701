"""Two gateways with one Redis keep to one limit, and what happens to calls while Redis is killed under load."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import redis

from tests.e2e.raw_provider import FINE, RawProvider
from tests.e2e.stack import SECONDS, Stack, prompt, up
from tests.redis_server import RedisServer, redis_server

PASSWORD = "correct-horse"
CONFIG = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: "KEYS/jwks.json"}}
providers:
  own: {dialects: [chat], base_url: "${RAW_URL}"}
models:
  - {name: "*", provider: own}
prices: {overrides: [{model: "*", input: 2, output: 6}]}
budgets:
  - {name: five, key: 'jwt.sub', when: 'jwt.team == "five"', limit: {requests: 5}, per: day}
  - {name: at-once, key: 'jwt.sub', when: 'jwt.team == "at-once"', limit: {concurrent: 8}}
  - {name: many, key: 'jwt.sub', when: 'jwt.team == "many"', limit: {requests: 100000, usd: 100}, per: month}
store: {redis: {url: "redis://localhost:PORT/0", password: {env: REDIS_PASSWORD}, timeout: 1}, when_down: DOWN}
workers: 2
"""


@dataclass
class Machines:
    closed: Stack
    open: Stack
    redis: RedisServer
    before: tuple[int, int]
    """The statuses of two calls before there was a Redis: of one that a budget limits, and of one that none does."""

    def ask(self, number: int, token: str) -> int:
        stack = (self.closed, self.open)[number % 2]
        return stack.call(prompt("q", max_tokens=2), token=token).status_code


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """With one issuer; they differ in `when_down`. The first begins while Redis cannot be reached."""
    folder = tmp_path_factory.mktemp("budgets")
    with ExitStack() as running:
        options = ("--requirepass", PASSWORD, "--appendonly", "yes", "--appendfsync", "always")
        redis = running.enter_context(redis_server(folder, *options))
        provider = running.enter_context(RawProvider().serving())
        provider.plays(FINE)
        environ = {"RAW_URL": provider.url, "REDIS_PASSWORD": PASSWORD}
        config = CONFIG.replace("PORT", str(redis.port)).replace("KEYS", str(folder / "closed" / "keys"))
        redis.stop()
        stacks = []
        for name in ("closed", "open"):
            (folder / name).mkdir()
            stacks.append(
                running.enter_context(up(folder / name, environ=environ, config=config.replace("DOWN", name)))
            )
        machines = Machines(stacks[0], stacks[1], redis, (0, 0))
        limited, other = (stacks[0].token(team=team) for team in ("many", "none"))
        machines.before = machines.ask(0, limited), machines.ask(0, other)
        redis.start()
        yield machines


def test_a_store_that_cannot_be_reached_at_the_start(machines: Machines) -> None:
    """The log names it once, calls that no budget limits go on, and others do as soon as it is there."""
    assert machines.before == (503, 200)
    deadline = time.monotonic() + SECONDS
    while machines.ask(0, machines.closed.token(team="many", claims={"sub": "eve"})) != 200:
        assert time.monotonic() < deadline, "it does not recover"
    said = machines.closed.err.text
    assert said.count("counters of budgets cannot be kept: Redis cannot be reached (ConnectionError)") == 1
    assert "counters of budgets can be kept again" in said and str(machines.redis.port) not in said


def test_five_requests_are_five_on_two_machines(machines: Machines) -> None:
    token = machines.closed.token(team="five", claims={"sub": "ann"})
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda number: machines.ask(number, token), range(24)))
    assert (found.count(200), found.count(429)) == (5, 19)


def test_redis_is_killed_under_load(machines: Machines) -> None:
    """With `closed` calls are refused while it is down, with `open` none is; both recover by themselves."""
    token = machines.closed.token(team="many", claims={"sub": "ben"})
    found: list[tuple[float, int, int]] = []
    stop = threading.Event()

    def load(number: int) -> None:
        while not stop.is_set():
            status = machines.ask(number, token)
            found.append((time.monotonic(), number % 2, status))

    def until(status: int, number: int, since: float) -> None:
        deadline = time.monotonic() + SECONDS
        while not any(at > since and which == number and got == status for at, which, got in list(found)):
            assert time.monotonic() < deadline, f"no {status}"
            stop.wait(0.05)

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(load, number) for number in range(4)]
        try:
            until(200, 0, 0.0)
            machines.redis.stop()
            killed = time.monotonic()
            until(503, 0, killed)
            machines.redis.start()
            again = time.monotonic()
            until(200, 0, again)
        finally:
            stop.set()
        for one in running:
            one.result()
    assert {status for _, number, status in found if number == 1} == {200}
    assert {status for _, number, status in found if number == 0} == {200, 503}
    answered = sum(status == 200 for _, _, status in found)
    deadline = time.monotonic() + SECONDS
    while (used := _used(machines, "many\x1frequests\x1fben")) < answered and time.monotonic() < deadline:
        threading.Event().wait(0.1)
    assert used == answered, "calls that went on while it was down count, too"


def _used(machines: Machines, account: str) -> int:
    """What is used. A claim whose answer was lost as Redis was killed is held for half a minute, and never used."""
    with redis.Redis(port=machines.redis.port, password=PASSWORD, decode_responses=True) as client:
        fields: dict[str, str] = client.hgetall(f"extproc:{{budgets}}:{account}")
    return sum(int(value) for name, value in fields.items() if name.startswith("u:"))
