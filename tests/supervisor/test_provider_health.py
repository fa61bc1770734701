"""The supervisor counts for all workers, and each of them learns the result. Workers are processes with real pipes."""

import asyncio
import logging
import math
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from extproc.providers.availability import AvailabilityUpdate, OutcomeSummary
from extproc.supervisor import provider_health, reload
from extproc.supervisor.processes import Child
from extproc.supervisor.provider_health import ProviderHealth
from extproc.supervisor.reload import Reloader
from extproc.transport import orders
from extproc.transport.orders import Order
from tests.settings import ENVIRON, GATEWAY, source

FAILED = OutcomeSummary("openai", failures=1)
OUTLIERS = GATEWAY.replace("api_key: {env: OPENAI_API_KEY}", "api_key: {env: OPENAI_API_KEY}, outliers: {failures: 3}")


def health(folder: Path, text: str = OUTLIERS) -> tuple[ProviderHealth, list[AvailabilityUpdate]]:
    told: list[AvailabilityUpdate] = []
    made = ProviderHealth(told.append, lambda: 1000.0)
    made.use(source(folder, text))
    return made, told


async def until(fits: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not fits():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.001)


def test_changes_that_come_together_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made, told = health(tmp_path)

    async def scene() -> None:
        for _ in range(3):
            made.reported(FAILED)
        await until(lambda: len(told) == 1)
        made.resume("openai")
        await until(lambda: len(told) == 2)

    asyncio.run(scene())
    assert told == [AvailabilityUpdate({"openai": 1030.0}, ["openai"]), AvailabilityUpdate({}, [])]
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == ["openai is left out for 30 s: it failed again and again"]


def test_what_changes_nothing_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_health, "PUSH_SECONDS", 0)
    made, told = health(tmp_path)

    async def scene() -> None:
        made.drain("openai")
        await until(lambda: bool(told))
        for _ in range(9):
            made.reported(FAILED)
            await asyncio.sleep(0)
        made.resume("openai")
        await until(lambda: len(told) > 1)

    asyncio.run(scene())
    assert told == [AvailabilityUpdate({"openai": math.inf}, []), AvailabilityUpdate({}, [])]


def test_a_wait_that_a_provider_asks_for_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made, _ = health(tmp_path)

    async def scene() -> None:
        made.reported(OutcomeSummary("openai", retry_after=61))
        made.reported(OutcomeSummary("openai", retry_after=62))
        made.drain("openai")

    asyncio.run(scene())
    assert caplog.messages == [
        "openai is left out for 61 s: it asked for it (retry-after)",
        "openai is left out until it is resumed: drained by hand",
    ]


WORKER = """
import asyncio, sys, time
from pathlib import Path
from extproc.providers.availability import AttemptOutcome
from extproc.transport.gateways import Gateways

async def work(path, failures):
    gateways = Gateways(Path(path))
    await gateways.begin()
    print("ready", flush=True)
    following = asyncio.create_task(gateways.follow())
    availability = gateways.current().availability
    for _ in range(failures):
        availability.report(AttemptOutcome("openai", "failed"))
    while not availability.until("openai") > time.time():
        await asyncio.sleep(0.001)
    print(f"left out at {time.time()}", flush=True)
    await following

asyncio.run(work(sys.argv[1], int(sys.argv[2])))
"""


class Crew:
    """A supervisor without Envoy, and workers that report so many failures each."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / "gateway.yaml"
        self.path.write_text(OUTLIERS)
        for name, value in ENVIRON.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(reload, "worker", self._worker)
        self.reloader = Reloader(self.path, ENVIRON, None, asyncio.Event())
        self.left_out: dict[str, float] = {}
        self.children: list[Child] = []

    def _worker(self, config: Path, address: str, **settings: Any) -> Child:
        """`address` is its name and number of failures."""
        hear = settings["on_line"]

        def on_line(line: str) -> None:
            hear(line)
            said, _, when = line.rpartition(" ")
            if said == "left out at":
                self.left_out[address] = float(when)

        argv = [sys.executable, "-c", WORKER, str(config), address.partition(" ")[2]]
        return Child(address, argv, on_line=on_line, greeting=settings["greeting"])

    async def start(self, address: str) -> None:
        self.children.append(self.reloader.crew.worker(self.path, address, 0, {}))
        await self.children[-1].start()

    def run(self, scene: Callable[[], Awaitable[None]]) -> None:
        async def whole() -> None:
            try:
                await scene()
            finally:
                await asyncio.gather(*(child.stop(0) for child in self.children))

        asyncio.run(whole())


@pytest.fixture
def crew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Crew:
    return Crew(tmp_path, monkeypatch)


def test_failures_of_all_workers_count_together_and_all_learn_it(crew: Crew) -> None:
    """Those that report, one that has nothing to do with it, and one that starts later."""

    async def scene() -> None:
        await crew.start("idle 0")
        await crew.start("one 1")
        await crew.start("two 2")
        await until(lambda: crew.left_out.keys() == {"idle 0", "one 1", "two 2"})
        assert crew.reloader.health.states()["openai"].state == "cooling down"
        await crew.start("late 0")
        await until(lambda: "late 0" in crew.left_out)

    crew.run(scene)


def test_a_worker_that_crashes_loses_nothing(crew: Crew) -> None:
    async def scene() -> None:
        await crew.start("one 2")
        await until(lambda: bool(crew.reloader.health.news()))
        await crew.children[0].stop(0)
        await crew.start("two 1")
        await until(lambda: "two 1" in crew.left_out)

    crew.run(scene)


def test_a_decision_reaches_a_worker_at_once(crew: Crew) -> None:
    async def scene() -> None:
        await crew.start("one 0")
        drained = time.time()
        crew.reloader.health.drain("openai")
        await until(lambda: "one 0" in crew.left_out)
        assert crew.left_out["one 0"] - drained < 1

    crew.run(scene)


def test_a_worker_that_starts_is_told_before_its_configuration(crew: Crew) -> None:
    crew.reloader.health.cool_downs.drain("openai")

    async def greeting() -> list[orders.Message | None]:
        stream = asyncio.StreamReader()
        stream.feed_data(crew.reloader.greeting(False))
        stream.feed_eof()
        return [await orders.read(stream) for _ in range(3)]

    update, order, end = asyncio.run(greeting())
    assert update == AvailabilityUpdate({"openai": math.inf}, [])
    assert isinstance(order, Order) and end is None


def test_a_provider_that_leaves_the_configuration_is_forgotten(crew: Crew) -> None:
    crew.reloader.health.cool_downs.drain("openai")
    text = crew.path.read_text()
    for content in (text.replace("openai", "other"), text):
        crew.path.write_text(content)
        asyncio.run(crew.reloader.reload())
    assert [one.state for one in crew.reloader.health.states().values()] == ["available"]
