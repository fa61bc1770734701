"""A worker that dies or hangs takes with it what it alone knew; everybody else is served by the others."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.processes import children
from tests.e2e.raw_provider import Connection, RawProvider
from tests.e2e.refusals import refused
from tests.e2e.stack import GATEWAY, SECONDS, Model, Stack, prompt, up
from tests.e2e.test_drain import SteadyCalls
from tests.e2e.test_processor_faults import kill_worker, until_it_works

CONFIG = (
    GATEWAY.replace(
        "models:", '  raw: {dialects: [chat], base_url: "${RAW_URL}"}\nmodels:\n  - {name: raw, provider: raw}'
    )
    + 'routes: [{path: "/raw/*", serve: passthrough, provider: raw}]\n'
)


@contextlib.contextmanager
def started(folders: pytest.TempPathFactory, model: Model, provider: RawProvider, workers: int) -> Iterator[Stack]:
    environ = {"MODEL_URL": model.url, "RAW_URL": provider.url}
    arguments = ["--workers", str(workers)]
    with up(folders.mktemp("workers"), environ=environ, config=CONFIG, arguments=arguments) as running:
        yield running


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory, model: Model, provider: RawProvider) -> Iterator[Stack]:
    with started(tmp_path_factory, model, provider, 1) as running:
        yield running


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, model: Model, provider: RawProvider) -> Iterator[Stack]:
    with started(tmp_path_factory, model, provider, 2) as running:
        yield running


def workers(stack: Stack) -> list[int]:
    found = children(stack.process.pid).items()
    return sorted(pid for pid, command in found if "extproc.transport.worker" in command)


@pytest.mark.parametrize("path", ["/v1/messages", "/raw/x"])
def test_killed_in_a_json_call(single: Stack, provider: RawProvider, path: str) -> None:
    """What the worker knew of the call is lost, so the call is; the provider's part is cancelled. A call that passes
    through is lost while its answer's headers are awaited."""
    asked = threading.Event()

    def waits(connection: Connection) -> None:
        asked.set()
        connection.until_left()

    provider.plays(waits)
    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(single.call, prompt("hello", model="raw"), path=path)
        assert asked.wait(SECONDS)
        kill_worker(single)
        answer = calling.result(SECONDS)
    assert "at the moment" in answer.json()["error"]["message"]
    assert (answer.status_code, single.record(answer)["reason"]) == (503, "Internal")
    assert provider.left.wait(SECONDS) and len(provider.bodies) == 1
    assert until_it_works(single)[-1] == 200


def test_slow(single: Stack) -> None:
    """It stands still for a while that is shorter than Envoy's patience."""
    [worker] = workers(single)
    os.kill(worker, signal.SIGSTOP)
    timer = threading.Timer(0.5, os.kill, (worker, signal.SIGCONT))
    timer.start()
    try:
        assert single.call(prompt("demo: say hi")).status_code == 200
    finally:
        timer.join()


def test_busy(single: Stack) -> None:
    """Calls that begin while it stands still for some health checks wait for it, and none is refused."""
    [worker] = workers(single)
    with ThreadPoolExecutor(10) as pool:
        os.kill(worker, signal.SIGSTOP)
        timer = threading.Timer(3, os.kill, (worker, signal.SIGCONT))
        timer.start()
        calls = []
        while timer.is_alive():
            calls.append(pool.submit(single.call, prompt("demo: say hi")))
            timer.join(0.3)
        statuses = [call.result(SECONDS).status_code for call in calls]
    assert len(statuses) > 5 and set(statuses) == {200}


def test_hung(single: Stack) -> None:
    [worker] = workers(single)
    os.kill(worker, signal.SIGSTOP)
    try:
        answer = single.call(prompt("demo: say hi"))
        kinds = {503: "api_error", 504: "timeout_error"}
        _, record = refused(single, answer, answer.status_code, kinds[answer.status_code])
        assert record["reason"] == "Internal"
    finally:
        os.kill(worker, signal.SIGCONT)
    assert until_it_works(single)[-1] == 200


def test_one_of_two_is_killed_under_load(pair: Stack) -> None:
    """At most the calls that it had at hand are lost, one for each of the two callers; it comes back."""
    with SteadyCalls(pair) as calls:
        calls.await_more(20)
        victim = workers(pair)[0]
        os.kill(victim, signal.SIGKILL)
        calls.await_more(20)
        assert pair.err.first(lambda line: "ended with status -9, starting it again in 0.1 s" in line or None)
        calls.await_more(20)
    assert set(calls.statuses) <= {200, 503} and calls.statuses.count(503) <= 2
    assert calls.statuses[-1] == 200


def test_both_are_restarted_under_load(pair: Stack) -> None:
    with SteadyCalls(pair) as calls:
        for _ in range(2):
            calls.await_more(10)
            os.kill(workers(pair)[0], signal.SIGTERM)
        calls.await_more(20)
    assert set(calls.statuses) <= {200, 503}
    assert until_it_works(pair)[-1] == 200
