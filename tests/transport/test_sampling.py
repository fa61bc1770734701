"""Which refusals are left out of the log, and that this is said."""

import asyncio
import logging

import pytest

from extproc.config.schema_limits import REFUSALS_BURST
from extproc.events import Action, Pass, Respond
from extproc.gateway.record import LEFT_OUT
from extproc.policy.facts import Caller, Facts
from extproc.transport import sampling
from extproc.transport.sampling import RefusalSampler


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def refusal() -> Respond:
    return Respond(401, {}, b"", {"reason": "JwtAuth"})


def left_out(sampler: RefusalSampler, count: int, facts: Facts | None = None, action: Action | None = None) -> int:
    """How many of so many are left out."""
    actions = [action or refusal() for _ in range(count)]
    for one in actions:
        sampler.mark(facts or Facts(0.0), one)
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
    known = Facts(0.0, caller=Caller({"sub": "ann"}))
    answered = Respond(200, {}, b"", {"ended": True})
    assert left_out(sampler, 1) == 0, "that was the one there is room for"
    assert left_out(sampler, 10, known) == 0
    assert left_out(sampler, 1, action=answered) == 0
    assert left_out(sampler, 1, action=Pass({}, (), {})) == 0


def test_how_many_were_left_out_is_said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "REPORT_SECONDS", 0.0)

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
