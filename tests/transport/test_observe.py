"""What is not configured is not even loaded; which refusals are left out of the log, and that this is said."""

import asyncio
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from extproc.config.schema_limits import REFUSALS_BURST
from extproc.events import Action, Pass, Record, Respond
from extproc.gateway.record import LEFT_OUT
from extproc.policy.facts import ANONYMOUS, Caller, Request
from extproc.transport import metrics, observe
from extproc.transport.observe import Observer, RefusalSampler
from tests.settings import ENVIRON, GATEWAY, source

LOADED = """
import sys
from pathlib import Path
from extproc.gateway import gateway
from extproc.transport import worker
from extproc.transport.observe import Observer
Observer(gateway.load(Path(sys.argv[1])).source.config)
wanted = {"opentelemetry", "prometheus_client", "requests", "sqlalchemy"}
print(*sorted({name.partition(".")[0] for name in sys.modules} & wanted))
"""


@pytest.mark.parametrize(
    ("keys", "loaded"),
    [
        ("", ""),
        ("metrics: {port: 9464}", "prometheus_client"),
        ("usage: {}", ""),
        ('tracing: {endpoint: "http://127.0.0.1:4318"}', "opentelemetry requests"),
    ],
)
def test_loaded(keys: str, loaded: str, tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(f"{GATEWAY}\n{keys}\n")
    argv = [sys.executable, "-c", LOADED, str(path)]
    ran = subprocess.run(argv, env=ENVIRON, capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == loaded


class Ended:
    """A span that keeps what it is told."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.told: list[tuple[Record, float]] = []

    def end(self, seen: Record, now: float) -> None:
        self.told.append((seen, now))


def test_a_full_disk_costs_a_count_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    observer = Observer(source(tmp_path, f"{GATEWAY}\nmetrics: {{port: 9464}}\n").config)
    monkeypatch.setattr(metrics.Metrics, "end", full)
    span = Ended()
    observer.begin()
    with caplog.at_level(logging.ERROR):
        observer.end(Request(started=0, span=span), {"ended": True}, 2.0)
    assert caplog.messages == ["a call was not counted: No space left on device"]
    assert span.told == [({"ended": True}, 2.0)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def refusal() -> Respond:
    return Respond(401, {}, b"", {"reason": "JwtAuth"})


def left_out(sampler: RefusalSampler, count: int, caller: Caller = ANONYMOUS, action: Action | None = None) -> int:
    """How many of so many are left out."""
    actions = [action or refusal() for _ in range(count)]
    for one in actions:
        sampler.mark(caller, one)
    return sum(LEFT_OUT in one.record for one in actions)


def test_a_burst_then_so_many_a_second() -> None:
    async def run() -> None:
        clock = Clock()
        sampler = RefusalSampler(2, clock)
        assert left_out(sampler, 2 * REFUSALS_BURST + 3) == 3
        clock.now = 1.0
        assert left_out(sampler, 5) == 3
        clock.now = 1000.0
        assert left_out(sampler, 2 * REFUSALS_BURST) == 0

    asyncio.run(run())


def test_others_are_always_logged() -> None:
    sampler = RefusalSampler(0.01, Clock())
    known = Caller({"sub": "ann"})
    answered = Respond(200, {}, b"", {"ended": True})
    assert left_out(sampler, 1) == 0, "that was the one there is room for"
    assert left_out(sampler, 10, known) == 0
    assert left_out(sampler, 1, action=answered) == 0
    assert left_out(sampler, 1, action=Pass({}, (), {})) == 0


def test_how_many_were_left_out_is_said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "REPORT_SECONDS", 0.0)

    async def run() -> None:
        sampler = RefusalSampler(1, Clock())
        for _ in range(2):
            left_out(sampler, REFUSALS_BURST + 3)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    said = [record.getMessage().partition(" ")[0] for record in caplog.records]
    assert said == ["3", str(REFUSALS_BURST + 3)]
