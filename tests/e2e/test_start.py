"""A start as early callers see it: no connection until the gateway serves, and never an error of the gateway's own."""

import sys
import threading
from pathlib import Path
from typing import Self

import httpx
import pytest

from tests.e2e.bare import configured, envoy_in, started
from tests.e2e.issuer import Signer, gateway, until
from tests.e2e.stack import SECONDS, Model, free_port, up
from tests.key_server import KeyServer

STARTS = 3


class Knocking:
    """Calls without a credential, one after the other; a gateway that serves answers each with 401."""

    def __init__(self, port: int) -> None:
        self.statuses: list[int] = []
        self.refused = 0
        self._url = f"http://127.0.0.1:{port}/v1/messages"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with httpx.Client(verify=False, timeout=SECONDS) as client:
            while not self._over.wait(0.01):
                try:
                    self.statuses.append(client.post(self._url, json={}).status_code)
                except httpx.ConnectError:
                    self.refused += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(SECONDS)

    def finish(self, answers: int) -> None:
        """Go on until there are so many answers; then stop, so that the gateway may."""
        until(lambda: len(self.statuses) >= answers)
        self.__exit__()


@pytest.mark.parametrize("start", range(STARTS))
def test_up_answers_nobody_before_it_serves(tmp_path: Path, model: Model, start: int) -> None:
    port = free_port()
    with (
        Knocking(port) as caller,
        up(tmp_path, environ={"MODEL_URL": model.url}, arguments=["--workers", "2"], port=port),
    ):
        caller.finish(20)
    assert caller.refused > 0 and set(caller.statuses) == {401}


def test_up_waits_for_keys_that_are_fetched(tmp_path: Path, model: Model, server: KeyServer) -> None:
    """Workers are there before the keys are, and refuse calls until then."""
    server.serve(Signer("a").jwk)
    port = free_port()
    with (
        Knocking(port) as caller,
        gateway(tmp_path, model, {"url": f"{server.url}/jwks", "ca_file": "ca.pem"}, port=port),
    ):
        caller.finish(20)
    assert caller.refused > 0 and set(caller.statuses) == {401}


@pytest.mark.parametrize("start", range(STARTS))
def test_serve_opens_another_envoys_port_when_it_serves(model: Model, start: int) -> None:
    """That Envoy starts as soon as its files are there, which is before the workers are, as in a pod."""
    with configured(model.url) as setup, Knocking(setup.port) as caller:
        argv = [sys.executable, "-m", "extproc", "serve", "--config", str(setup.path), "--workers", "1"]
        argv += ["--processor", f"unix:{setup.folder}/p.sock", "--envoy-folder", str(setup.folder)]
        with started(argv, setup.folder, setup.environ):
            until((setup.folder / "listeners.json").exists)
            with envoy_in(setup, healthy=1):
                caller.finish(20)
    assert caller.refused > 0 and set(caller.statuses) == {401}
