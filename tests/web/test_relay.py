"""Telemetry on its way to a collector: a bounded queue, a few attempts, and a count of what is lost."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine

import httpx
import pytest

from extproc.providers.collectors import Collector
from extproc.web import relay
from extproc.web.relay import ATTEMPTS, Relay

COLLECTOR = Collector(
    "telemetry.collectors.0",
    "http://collector",
    {"authorization": "Bearer t"},
    frozenset({"metrics", "logs"}),
    None,
    1.0,
    1000,
)
Handler = Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "FIRST_PAUSE", 0.001)


async def relayed(handler: Handler, fill: Callable[[Relay], None]) -> Counter[tuple[str, str]]:
    """What became of the requests that `fill` puts into the queue."""
    counted: Counter[tuple[str, str]] = Counter()

    def count(signal: str, result: str) -> None:
        counted[signal, result] += 1

    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        one = Relay(COLLECTOR, client, count)
        fill(one)
        await one.drained()
    return counted


def test_a_request_arrives_with_the_collectors_credential() -> None:
    seen: list[httpx.Request] = []

    async def take(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    assert asyncio.run(relayed(take, lambda one: one.put("logs", b"x"))) == {("logs", "sent"): 1}
    [request] = seen
    assert (str(request.url), request.content) == ("http://collector/v1/logs", b"x")
    assert request.headers["authorization"] == "Bearer t"
    assert request.headers["content-type"] == "application/x-protobuf"


def test_what_the_collector_does_not_want_is_left_out() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        raise AssertionError

    assert asyncio.run(relayed(never, lambda one: one.put("traces", b"x"))) == {}


@pytest.mark.parametrize("body", [bytes(100), b""])
def test_what_does_not_fit_is_dropped_and_counted(body: bytes) -> None:
    async def take(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200)

    def fill(one: Relay) -> None:
        for _ in range(12):
            one.put("metrics", body)

    assert asyncio.run(relayed(take, fill)) == {("metrics", "sent"): 10, ("metrics", "queue_full"): 2}


@pytest.mark.parametrize(
    ("status", "result", "attempts"), [(503, "failed", ATTEMPTS), (400, "refused", 1), (401, "refused", 1)]
)
def test_a_collector_that_does_not_take_it(status: int, result: str, attempts: int) -> None:
    seen: list[int] = []

    async def refuse(_: httpx.Request) -> httpx.Response:
        seen.append(status)
        return httpx.Response(status)

    assert asyncio.run(relayed(refuse, lambda one: one.put("logs", b"x"))) == {("logs", result): 1}
    assert len(seen) == attempts


def test_one_that_is_down_is_tried_again_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    down = True

    async def take(_: httpx.Request) -> httpx.Response:
        if down:
            raise httpx.ConnectError("no")
        return httpx.Response(200)

    async def scene() -> None:
        nonlocal down
        async with httpx.AsyncClient(transport=httpx.MockTransport(take)) as client:
            one = Relay(COLLECTOR, client, lambda _signal, _result: None)
            for _ in range(3):
                one.put("logs", b"secret-of-somebody")
                await one.drained()
            down = False
            one.put("logs", b"x")
            await one.drained()

    asyncio.run(scene())
    said = [record.message for record in caplog.records if record.name == "extproc"]
    assert said == [
        "telemetry: telemetry.collectors.0 cannot be reached (ConnectError)",
        "telemetry: telemetry.collectors.0 is back",
    ]


def test_only_so_many_requests_run_at_the_same_time() -> None:
    running, most = 0, 0

    async def take(_: httpx.Request) -> httpx.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return httpx.Response(200)

    def fill(one: Relay) -> None:
        for _ in range(10):
            one.put("logs", b"x")

    assert asyncio.run(relayed(take, fill)) == {("logs", "sent"): 10} and most == relay.AT_ONCE
