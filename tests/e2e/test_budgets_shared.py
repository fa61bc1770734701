"""Two gateways with one Redis keep to one limit, and what happens to calls while Redis is killed under load."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import redis

from tests.e2e.raw_provider import ENDED, FINE, SAID, STREAM, Connection, RawProvider
from tests.e2e.stack import SECONDS, Stack, prompt, up
from tests.e2e.test_budgets_load import Gate
from tests.redis_server import RedisServer, redis_server

PASSWORD = "correct-horse"
CONFIG = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: "KEYS/jwks.json"}}
providers:
  own: {dialects: [chat], base_url: "${RAW_URL}"}
models:
  - {name: small, provider: own, model: small-one}
  - {name: "*", provider: own}
prices: {overrides: [{model: "*", input: 2, output: 6}]}
budgets:
  - {name: five, key: 'jwt.sub', when: 'jwt.team == "five"', limit: {requests: 5}, per: day}
  - {name: moved, key: 'jwt.sub', when: 'jwt.team == "moved"', limit: {requests: 5}, per: day, exceeded: {model: small}}
  - {name: at-once, key: 'jwt.sub', when: 'jwt.team == "at-once"', limit: {concurrent: 8}}
  - {name: many, key: 'jwt.sub', when: 'jwt.team == "many"', limit: {requests: 100000, usd: 100}, per: month}
  - {name: words, key: 'jwt.sub', when: 'jwt.team == "words"', limit: {tokens: 3000}, per: month}
limits: {caller_share: 100}
store: {redis: {url: "redis://localhost:PORT/0", password: {env: REDIS_PASSWORD}, timeout: 4}, when_down: DOWN}
workers: 2
"""


@dataclass
class Machines:
    closed: Stack
    open: Stack
    redis: RedisServer
    provider: RawProvider
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
        machines = Machines(stacks[0], stacks[1], redis, provider, (0, 0))
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
        time.sleep(0.02)
    machines.closed.err.says("counters of budgets can be kept again")
    said = machines.closed.err.text
    assert said.count("counters of budgets cannot be kept: Redis cannot be reached (ConnectionError)") == 1
    assert str(machines.redis.port) not in said


def test_five_requests_are_five_on_two_machines(machines: Machines) -> None:
    token = machines.closed.token(team="five", claims={"sub": "ann"})
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda number: machines.ask(number, token), range(24)))
    assert (found.count(200), found.count(429)) == (5, 19)


def test_calls_beyond_five_are_moved_on_two_machines(machines: Machines) -> None:
    token = machines.closed.token(team="moved", claims={"sub": "eve"})

    def model(number: int) -> str:
        stack = (machines.closed, machines.open)[number % 2]
        return str(stack.record(stack.call(prompt("q", max_tokens=2), token=token))["gen_ai.upstream.model"])

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(model, range(12)))
    assert (found.count("claude-x"), found.count("small-one")) == (5, 7)


def streamed(gate: Gate, input_tokens: int, output_tokens: int) -> Callable[[Connection], None]:
    used = {"prompt_tokens": input_tokens, "completion_tokens": output_tokens}
    usage = b"data: " + json.dumps({"model": "m", "choices": [], "usage": used}).encode() + b"\n\n"

    def play(connection: Connection) -> None:
        connection.say(STREAM + SAID)
        gate.wait()
        connection.say(SAID + usage + ENDED)

    return play


@pytest.mark.parametrize(("subject", "counted"), [("cid", (10, 15)), ("dan", (100, 20))])
def test_200_streams_at_once_on_two_machines_exceed_a_limit_by_no_more_than_the_formula(
    machines: Machines, subject: str, counted: tuple[int, int]
) -> None:
    """dan's provider counts more for the prompt than anybody could know before; at least 40 tokens are reserved."""
    token = machines.closed.token(team="words", claims={"sub": subject})
    gate = Gate(200)
    machines.provider.plays(streamed(gate, *counted))

    def stream(number: int) -> int:
        stack = (machines.closed, machines.open)[number % 2]
        status = stack.call(prompt("q", max_tokens=20, stream=True), token=token).status_code
        if status != 200:
            gate.arrive()
        return status

    try:
        with ThreadPoolExecutor(200) as pool:
            found = list(pool.map(stream, range(200)))
    finally:
        machines.provider.plays(FINE)
    assert set(found) == {200, 429}
    reported = found.count(200) * sum(counted)
    used = _used(machines, f"words\x1ftokens\x1f{subject}", reported)
    assert used == reported
    assert (used > 3000) == (subject == "dan")
    assert 0 < used <= 3000 + 3000 // 40 * max(0, sum(counted) - 40)


def test_a_change_on_one_machine_holds_on_the_other(machines: Machines) -> None:
    """With its entry of the audit."""

    def budget(stack: Stack, *words: str) -> str:
        argv = [sys.executable, "-m", "extproc", "budget", *words, "--config", str(stack.folder / "gateway.yaml")]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert budget(machines.closed, "set", "five", "eva", "2") == "done\n"
    rows = [line.split() for line in budget(machines.open, "list").splitlines()]
    assert ["five", "eva", "requests", "0", "0", "2", "(configured", "5)"] in [row[:8] for row in rows]
    token = machines.closed.token(team="five", claims={"sub": "eva"})
    assert [machines.ask(1, token) for _ in range(3)] == [200, 200, 429]
    [entry] = [line.split() for line in budget(machines.open, "audit").splitlines() if "eva" in line]
    assert entry[2:] == ["command", "set", "five", "eva", "requests", "5", "2"]


def test_redis_is_killed_under_load(machines: Machines) -> None:
    """With `closed` calls are refused while it is down, with `open` none is; both recover by themselves."""
    token = machines.closed.token(team="many", claims={"sub": "ben"})
    found: list[tuple[float, int, int]] = []
    stop = threading.Event()

    def load(number: int) -> None:
        while not stop.wait(0.01):
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
    used = _used(machines, "many\x1frequests\x1fben", answered)
    assert used == answered, "calls that went on while it was down count, too"


def _used(machines: Machines, account: str, expected: int) -> int:
    """What is used, as soon as that is `expected`, or at the end of the time. Nobody waits for what is held: a claim
    whose answer was lost as Redis was killed is held for half a minute, and never used."""
    deadline = time.monotonic() + SECONDS
    with redis.Redis(port=machines.redis.port, password=PASSWORD, decode_responses=True) as client:
        while True:
            fields: dict[str, str] = client.hgetall(f"extproc:{{budgets}}:{account}")
            used = sum(int(value) for name, value in fields.items() if name.startswith("u:"))
            if used == expected or time.monotonic() > deadline:
                return used
            threading.Event().wait(0.1)
