"""Two gateways that share nothing, as deploy/kubernetes has them, and what clients see when a processor is killed.

`sidecar.yaml`: each Envoy has a processor of its own. `envoy-gateway.yaml`: each Envoy knows every processor.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.bare import Setup, bare_envoy, configured, started, wait_for_processors
from tests.e2e.processes import children
from tests.e2e.stack import SECONDS, Model, Stack, free_port, prompt
from tests.e2e.test_drain import SteadyCalls

IN_FLIGHT = 2  # threads of a SteadyCalls


@contextlib.contextmanager
def processor(setup: Setup, address: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-m", "extproc", "serve", "--config", str(setup.path), "--processor", address]
    with started([*argv, "--workers", "1"], setup.folder, setup.environ) as (process, out, _):
        out.first(lambda line: "is serving on" in line or None)
        try:
            yield process
        finally:
            kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """With its worker, as the end of a machine does it."""
    family = children(process.pid) if process.poll() is None else {}
    process.kill()
    process.wait(SECONDS)
    for child in family:
        os.kill(child, signal.SIGKILL)


@contextlib.contextmanager
def machines(model: Model) -> Iterator[tuple[Setup, Setup]]:
    """Two, with the same configuration and the same issuer."""
    with configured(model.url) as first, configured(model.url) as second:
        shutil.copytree(first.folder / "keys", second.folder / "keys", dirs_exist_ok=True)
        yield first, second


def test_each_with_its_own(model: Model) -> None:
    """One is closed until its processor is back; the other notices nothing."""
    with contextlib.ExitStack() as later:
        setups = later.enter_context(machines(model))
        addresses = [f"unix:{setup.folder}/p.sock" for setup in setups]
        ours, _ = (later.enter_context(processor(setup, at)) for setup, at in zip(setups, addresses, strict=True))
        first, second = (
            later.enter_context(bare_envoy(setup, [at], healthy=1)) for setup, at in zip(setups, addresses, strict=True)
        )
        with SteadyCalls(first) as hit, SteadyCalls(second) as spared:
            hit.await_more(10)
            kill(ours)
            hit.await_more(20)
            spared.await_more(10)
            later.enter_context(processor(setups[0], addresses[0]))
            wait_for_processors(setups[0], 1)
            hit.await_more(10)
        assert set(spared.statuses) == {200}
        assert set(hit.statuses) == {200, 503}
        assert hit.statuses[:10] == [200] * 10
        assert first.call(prompt("hello")).status_code == 200


def test_each_with_all(model: Model) -> None:
    """What was in the hands of the killed one may fail; nothing that comes later does."""
    with contextlib.ExitStack() as later:
        setups = later.enter_context(machines(model))
        addresses = [f"127.0.0.1:{free_port()}" for _ in setups]
        ours, _ = (later.enter_context(processor(setup, at)) for setup, at in zip(setups, addresses, strict=True))
        stacks = [later.enter_context(bare_envoy(setup, addresses, healthy=2)) for setup in setups]
        with SteadyCalls(stacks[0]) as first, SteadyCalls(stacks[1]) as second:
            for calls in (first, second):
                calls.await_more(10)
            kill(ours)
            for calls in (first, second):
                calls.await_more(20)
        for calls in (first, second):
            failed = [status for status in calls.statuses if status != 200]
            assert len(failed) <= IN_FLIGHT and set(failed) <= {503}


@pytest.mark.parametrize("killed", [0, 1])
def test_a_token_is_good_everywhere(model: Model, killed: int) -> None:
    """There is no session: what one machine would have served, the other serves."""
    with contextlib.ExitStack() as later:
        setups = later.enter_context(machines(model))
        addresses = [f"127.0.0.1:{free_port()}" for _ in setups]
        processes = [later.enter_context(processor(setup, at)) for setup, at in zip(setups, addresses, strict=True)]
        stacks: list[Stack] = [later.enter_context(bare_envoy(setup, addresses, healthy=2)) for setup in setups]
        kill(processes[killed])
        token = stacks[killed].token()
        assert [stack.call(prompt("hello"), token=token).status_code for stack in stacks] == [200, 200]
