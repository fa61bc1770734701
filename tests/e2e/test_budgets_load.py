"""200 streams at once on four workers, some of which their clients leave: what is charged is what is on record, and
never more than docs/budgets.md says."""

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import pytest

from extproc.store.overrides import COUNTERS
from tests.e2e.raw_provider import ENDED, SAID, STREAM, Connection, RawProvider
from tests.e2e.stack import SECONDS, Json, Stack, prompt, up

LIMIT = 3000
STREAMS = 200
MAX_TOKENS = 20
CONFIG = f"""
authentication:
  jwt:
    - {{issuer: claude-code-lab, audiences: [anthropic-api], jwks: {{file: keys/jwks.json}}}}
providers:
  own: {{dialects: [chat], base_url: "${{RAW_URL}}"}}
models:
  - {{name: "*", provider: own}}
prices: {{overrides: [{{model: "*", input: 1, output: 1}}]}}
budgets:
  - {{name: t, key: 'jwt.sub', limit: {{tokens: {LIMIT}, usd: 1000}}, per: month}}
limits: {{caller_share: 100}}
workers: 4
"""


class Gate:
    """Where answers wait until so many calls have been begun or refused, so that all are in progress at once."""

    def __init__(self, calls: int) -> None:
        self._missing = calls
        self._lock = threading.Lock()
        self._open = threading.Event()

    def arrive(self) -> None:
        with self._lock:
            self._missing -= 1
            if self._missing <= 0:
                self._open.set()

    def wait(self) -> None:
        self.arrive()
        self._open.wait(SECONDS)


@dataclass
class Load:
    stack: Stack
    provider: RawProvider
    gate: Gate = field(default_factory=lambda: Gate(STREAMS))

    def answers_with(self, input_tokens: int, output_tokens: int) -> None:
        used = {"prompt_tokens": input_tokens, "completion_tokens": output_tokens}
        usage = b"data: " + json.dumps({"model": "m", "choices": [], "usage": used}).encode() + b"\n\n"

        def stream(connection: Connection) -> None:
            connection.say(STREAM + SAID)
            self.gate.wait()
            connection.say(SAID + usage + ENDED)

        self.provider.plays(stream)

    def stream(self, token: str, *, leaves: bool) -> int:
        """Returns the status. `leaves`: the client leaves after the first piece."""
        headers = {"authorization": f"Bearer {token}"}
        body: Json = prompt("q", max_tokens=MAX_TOKENS, stream=True)
        url = self.stack.url + "/v1/messages"
        with httpx.stream("POST", url, json=body, headers=headers, timeout=60, verify=False) as answer:
            if answer.status_code != 200:
                self.gate.arrive()
            pieces = answer.iter_bytes()
            if answer.status_code == 200 and leaves:
                next(pieces)
            else:
                list(pieces)
            return answer.status_code

    def run(self, subject: str, every: int = STREAMS + 1) -> list[int]:
        """`every`: of so many clients one leaves."""
        token = self.stack.token(team="t", claims={"sub": subject})
        self.gate = Gate(STREAMS)
        with ThreadPoolExecutor(STREAMS) as pool:
            return list(pool.map(lambda n: self.stream(token, leaves=n % every == every - 1), range(STREAMS)))

    def on_record(self, subject: str, calls: int) -> tuple[int, int]:
        """Tokens, and billionths of a USD, by the log of so many calls."""
        deadline = time.monotonic() + SECONDS
        while True:
            lines = [json.loads(line) for line in list(self.stack.out.seen) if line.startswith("{")]
            mine = [line for line in lines if line.get("jwt.sub") == subject]
            if len(mine) >= calls:
                break
            assert time.monotonic() < deadline, f"{len(mine)} of {calls} calls are in the log"
            threading.Event().wait(0.05)
        tokens = sum(line.get(f"gen_ai.usage.{kind}_tokens", 0) for line in mine for kind in ("input", "output"))
        return int(tokens), round(sum(line.get("gen_ai.usage.cost", 0) for line in mine) * 10**9)

    def charged(self, subject: str, at_least: tuple[int, int]) -> tuple[int, int]:
        """As `on_record`, by the counters, which are written within a second."""
        deadline = time.monotonic() + SECONDS
        found = (0, 0)
        while found < at_least and time.monotonic() < deadline:
            with contextlib.closing(sqlite3.connect(self.stack.folder / "state" / COUNTERS)) as db:
                rows = dict(db.execute("SELECT account, sum(used) FROM used GROUP BY account").fetchall())
            found = rows.get(f"t\x1ftokens\x1f{subject}", 0), rows.get(f"t\x1fusd\x1f{subject}", 0)
            threading.Event().wait(0.1)
        return found


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    with contextlib.ExitStack() as running:
        provider = running.enter_context(RawProvider().serving())
        folder = tmp_path_factory.mktemp("load")
        yield Load(running.enter_context(up(folder, environ={"RAW_URL": provider.url}, config=CONFIG)), provider)


def test_answers_within_their_estimate_never_exceed_the_limit(load: Load) -> None:
    load.answers_with(10, 15)
    found = load.run("ann") + load.run("ann")
    assert set(found) == {200, 429} and found.count(200) >= LIMIT // 45
    on_record = load.on_record("ann", len(found))
    assert 0 < on_record[0] <= LIMIT
    assert load.charged("ann", on_record) == on_record


def test_answers_beyond_their_estimate_exceed_it_by_no_more_than_the_formula(load: Load) -> None:
    """Nobody can know before that this provider counts 100 tokens for the prompt. Of a call whose client leaves just
    as the answer ends, the log may have an estimate, and the counters what the provider has reported."""
    load.answers_with(100, MAX_TOKENS)
    found = load.run("ben", every=5) + load.run("ben", every=5)
    actual, reserved = 100 + MAX_TOKENS, 20 + MAX_TOKENS  # or a little more: a token for four bytes of the body
    on_record = load.on_record("ben", len(found))
    charged = load.charged("ben", on_record)
    assert LIMIT < on_record[0] <= charged[0] <= LIMIT + LIMIT // reserved * (actual - reserved)
    assert charged[0] - on_record[0] <= found.count(200) / 4 * actual
    assert charged[1] == charged[0] * 1000
