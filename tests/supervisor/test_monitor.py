"""What Kubernetes and Prometheus are told, by a supervisor whose workers are made up."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from extproc.config.schema_providers import Outliers
from extproc.policy.budgets.limits import account
from extproc.providers.availability import CoolDowns, OutcomeSummary
from extproc.store.counters import AccountState, Settlement
from extproc.store.interface import StoreDown
from extproc.supervisor import monitor
from extproc.supervisor.budgets import BudgetKeeper
from extproc.supervisor.monitor import CannotListen, Check, Monitor
from extproc.transport.status import Status
from extproc.version import version
from tests.e2e.stack import free_port
from tests.settings import GATEWAY, source

ALL, SOME, NONE = (True, True), (False, True), (False, False)


def check(good: bool) -> Check:
    async def answer() -> bool:
        return good

    return answer


Scene = Callable[[Monitor, str], Awaitable[None]]


def run(
    folder: Path,
    scene: Scene,
    front: bool | None = True,
    workers: tuple[bool, ...] = ALL,
    keys: str = "",
    cool_downs: CoolDowns | None = None,
    budgets: BudgetKeeper | None = None,
) -> None:
    port = free_port()

    async def begin() -> None:
        checks = {f"worker-{n}": check(good) for n, good in enumerate(workers)}
        status = Status(7, cool_downs=cool_downs or CoolDowns())
        watched = Monitor(None if front is None else check(front), checks, status, budgets=budgets)
        settings = source(folder, f"{GATEWAY}\n{keys or 'health: {port: PORT}'}\n".replace("PORT", str(port))).config
        watched.start(settings, folder / "metrics")
        try:
            await scene(watched, f"http://127.0.0.1:{port}")
        finally:
            watched.close()
            await asyncio.to_thread(ended, "health", "metrics")

    asyncio.run(begin())


def ended(*names: str) -> None:
    """The threads of these names have ended."""
    for thread in threading.enumerate():
        if thread.name in names:
            thread.join(10)
            assert not thread.is_alive()


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient(verify=False, timeout=10) as client:
        return await client.get(url)


@pytest.mark.parametrize(
    ("front", "workers", "status", "said"),
    [
        (True, ALL, 200, "ready"),
        (True, SOME, 200, "ready"),
        (None, SOME, 200, "ready"),
        (True, NONE, 503, "not ready"),
        (False, ALL, 503, "not ready"),
    ],
)
def test_ready(front: bool | None, workers: tuple[bool, ...], status: int, said: str, tmp_path: Path) -> None:
    async def scene(watched: Monitor, url: str) -> None:
        answer = await get(f"{url}/readyz")
        words = {True: "serving", False: "not serving"}
        detail = {} if front is None else {"envoy": words[front]}
        detail |= {f"worker-{n}": words[good] for n, good in enumerate(workers)}
        assert (answer.status_code, answer.json()) == (status, {"status": said, **detail})
        assert answer.headers["cache-control"] == "no-store"
        assert (await get(f"{url}/livez")).status_code == 200

    run(tmp_path, scene, front, workers)


def test_not_ready_while_leaving_but_alive(tmp_path: Path) -> None:
    async def scene(watched: Monitor, url: str) -> None:
        watched.leave()
        answer = await get(f"{url}/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "leaving")
        assert (await get(f"{url}/livez")).status_code == 200

    run(tmp_path, scene)


def test_a_stuck_loop_is_not_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "SECONDS", 0.1)

    async def scene(watched: Monitor, url: str) -> None:
        # Waits for the answer in the loop itself, which so can answer nothing.
        answer = httpx.get(f"{url}/livez", verify=False, timeout=10)  # noqa: ASYNC210
        assert (answer.status_code, answer.json()) == (503, {"status": "hangs"})

    run(tmp_path, scene)


def test_how_the_configuration_is_doing(tmp_path: Path) -> None:
    async def scene(watched: Monitor, url: str) -> None:
        told = (await get(f"{url}/status")).json()
        assert (told["configuration"], told["generation"]) == ("in force", 7)

    run(tmp_path, scene)


@pytest.mark.parametrize(("workers", "ready"), [(SOME, "1.0"), (NONE, "0.0")])
def test_prometheus_learns_whether_calls_are_served(tmp_path: Path, workers: tuple[bool, ...], ready: str) -> None:
    async def scene(watched: Monitor, url: str) -> None:
        assert f"\nextproc_ready {ready}\n" in (await get(f"{url}/metrics")).text

    run(tmp_path, scene, True, workers, "metrics: {port: PORT}")


def test_the_version_is_told(tmp_path: Path) -> None:
    async def scene(watched: Monitor, url: str) -> None:
        assert (await get(f"{url}/status")).json()["version"] == version()

    run(tmp_path, scene)


def one_of_each() -> CoolDowns:
    """Of three providers one is available, one cools down, and one was drained."""
    found = CoolDowns()
    found.use(dict.fromkeys(("anthropic", "openai", "vllm"), Outliers(failures=1, pause=1e9)))
    found.report(OutcomeSummary("openai", failures=1), 1_000_000_000.0)
    found.drain("vllm")
    return found


def test_how_the_providers_are_doing(tmp_path: Path) -> None:
    async def scene(watched: Monitor, url: str) -> None:
        assert (await get(f"{url}/status")).json()["providers"] == {
            "anthropic": {"state": "available"},
            "openai": {"state": "cooling down", "until": 2e9, "reason": "failures"},
            "vllm": {"state": "drained"},
        }

    run(tmp_path, scene, cool_downs=one_of_each())


def test_prometheus_learns_which_providers_are_left_out(tmp_path: Path) -> None:
    async def scene(watched: Monitor, url: str) -> None:
        lines = (await get(f"{url}/metrics")).text.splitlines()
        available = "extproc_provider_available{gen_ai_provider_name="
        assert {f'{available}"anthropic"}} 1.0', f'{available}"openai"}} 0.0', f'{available}"vllm"}} 0.0'} <= {*lines}
        left_out = "extproc_provider_left_out_total{cause="
        assert f'{left_out}"failures",gen_ai_provider_name="openai"}} 1.0' in lines
        assert f'{left_out}"drained",gen_ai_provider_name="vllm"}} 1.0' in lines
        assert f'{left_out}"retry_after",gen_ai_provider_name="openai"}} 0.0' in lines

    run(tmp_path, scene, keys="metrics: {port: PORT}", cool_downs=one_of_each())


BUDGET = "\nbudgets: [{name: b, key: jwt.sub, limit: {requests: 5}, per: day}]\n"


def test_prometheus_learns_what_is_used_of_budgets(tmp_path: Path) -> None:
    keeper = BudgetKeeper(lambda _: None)
    keeper.use(source(tmp_path, GATEWAY + BUDGET), {})
    day = int(time.time()) // 86400 * 86400
    settlement = Settlement(account("b", "requests", "ann"), day, day + 86400, 4, 0)

    async def scene(watched: Monitor, url: str) -> None:
        await keeper.counters.settle("w", [settlement])
        assert (
            'extproc_budget_used_ratio{budget="b",key="ann",measure="requests"} 0.8'
            in (await get(f"{url}/metrics")).text.splitlines()
        )

    run(tmp_path, scene, keys="metrics: {port: PORT}", budgets=keeper)


def test_the_page_is_there_while_the_counters_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down() -> list[AccountState]:
        raise StoreDown("Redis is gone")

    keeper = BudgetKeeper(lambda _: None)
    keeper.use(source(tmp_path, GATEWAY + BUDGET), {})
    monkeypatch.setattr(keeper.counters, "states", down)

    async def scene(watched: Monitor, url: str) -> None:
        lines = (await get(f"{url}/metrics")).text.splitlines()
        assert {"extproc_budget_store_up 0.0", "extproc_ready 1.0"} <= {*lines}
        assert not [line for line in lines if line.startswith("extproc_budget_used_ratio{")]

    run(tmp_path, scene, keys="metrics: {port: PORT}", budgets=keeper)


def test_health_alone_shows_no_metrics(tmp_path: Path) -> None:
    async def scene(watched: Monitor, url: str) -> None:
        assert (await get(f"{url}/metrics")).status_code == 404

    run(tmp_path, scene)


COUNTS = """
import sys
from pathlib import Path
from tests.settings import GATEWAY, source
from extproc.transport.metrics import Metrics
metrics = Metrics(source(Path(sys.argv[1]), GATEWAY + "\\nmetrics: {port: 9464}\\n").config)
metrics.begin()
metrics.begin()
metrics.end({"gen_ai.operation.name": "chat", "ended": True}, 0.1)
"""


def test_scrapes_add_up_what_workers_counted_even_those_that_died(tmp_path: Path) -> None:
    async def scene(watched: Monitor, url: str) -> None:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            argv = [sys.executable, "-c", COUNTS, str(tmp_path / name)]
            environ = {monitor.FOLDER: str(tmp_path / "metrics")}
            subprocess.run(argv, env=environ, check=True, cwd=Path(__file__).parents[2])  # noqa: ASYNC221
        text = (await get(f"{url}/metrics")).text
        lines = [line for line in text.splitlines() if line.startswith("extproc_")]
        assert [line.rpartition(" ")[2] for line in lines if line.startswith("extproc_requests_total")] == ["2.0"]
        assert "extproc_config_generation 7.0" in lines
        # They died with a call each, which nobody serves any more.
        assert not [line for line in lines if line.startswith("extproc_streams_in_flight")]

    run(tmp_path, scene, keys="metrics: {port: PORT}")


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.mark.parametrize("key", ["health", "metrics"])
def test_a_port_that_is_taken(key: str, taken: int, tmp_path: Path) -> None:
    async def begin() -> Any:
        settings = source(tmp_path, f"{GATEWAY}\n{key}: {{port: {taken}}}\n").config
        return Monitor(None, {}, Status()).start(settings, tmp_path / "metrics")

    with pytest.raises(CannotListen, match=f"cannot listen on 127.0.0.1:{taken}: .*; see `{key}` in the file"):
        asyncio.run(begin())
