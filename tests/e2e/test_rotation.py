"""Keys change under load: no good token is refused, and no token of a removed key passes."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.e2e.issuer import BODY, CONFIG, ISSUER, Signer, gateway, until
from tests.e2e.reloading import Reloads
from tests.e2e.stack import Model, Stack
from tests.key_server import KeyServer


class Load:
    """Calls without end, from several threads, each with a token of the kind that is good at the time."""

    def __init__(self, stack: Stack, make: Callable[[], str]) -> None:
        self.make = make
        self.statuses: list[int] = []
        self._stack = stack
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(3)]

    def _run(self) -> None:
        kept = self.make()
        make = self.make
        headers = {"content-type": "application/json"}
        with httpx.Client(base_url=self._stack.url, headers=headers, timeout=20, verify=False) as client:
            while not self._over.wait(0.01):
                if make is not self.make:
                    make, kept = self.make, self.make()
                # One token that is used again and again, and one that was never seen.
                for token in (kept, make()):
                    answer = client.post("/v1/messages", content=BODY, headers={"x-api-key": token})
                    self.statuses.append(answer.status_code)

    def more(self, calls: int) -> None:
        """Until so many further calls have been answered."""
        wanted = len(self.statuses) + calls
        until(lambda: len(self.statuses) >= wanted)

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join(20)


def test_keys_are_rotated_under_load(tmp_path: Path, model: Model, server: KeyServer) -> None:
    old, new = Signer("a"), Signer("b")
    server.serve(old.jwk)
    jwks = {"url": f"{server.url}/jwks", "ca_file": "ca.pem", "refresh": 1}
    with gateway(tmp_path, model, jwks, workers=2) as stack:
        kept = old.token()
        load = Load(stack, old.token)
        with load.running():
            load.more(30)
            server.serve(old.jwk, new.jwk)
            load.more(10)
            load.make = new.token
            load.more(30)
            assert stack.call(BODY, token=kept).status_code == 200
            server.serve(new.jwk)
            until(lambda: all(stack.call(BODY, token=kept).status_code == 401 for _ in range(12)))
            fresh = stack.call(BODY, token=old.token())
            load.more(30)
        assert set(load.statuses) == {200}
        assert fresh.status_code == 401 and stack.record(fresh)["error"] == "unknown_key"
        assert "localhost" not in stack.err.text


def test_an_issuers_keys_move_to_a_server_under_load(tmp_path: Path, model: Model, server: KeyServer) -> None:
    """By a new configuration. The fetching of the old one ends with it."""
    one = Signer("a")
    (tmp_path / "one.json").write_text(json.dumps({"keys": [one.jwk]}))
    with gateway(tmp_path, model, {"file": "one.json"}, workers=2) as stack:
        reloads = Reloads(stack)

        def move(path: str) -> None:
            server.serve(one.jwk, path=path)
            jwks = {"url": f"{server.url}{path}", "ca_file": "ca.pem", "refresh": 1}
            text = CONFIG.format(issuer=ISSUER, jwks=json.dumps(jwks))
            (tmp_path / "gateway.yaml").write_text(text)
            reloads.now()

        load = Load(stack, one.token)
        with load.running():
            load.more(10)
            move("/first")
            load.more(20)
            move("/second")
            load.more(20)
        assert set(load.statuses) == {200}
        before = server.asked.count("/first"), server.asked.count("/second")
        until(lambda: server.asked.count("/second") >= before[1] + 6)
        assert server.asked.count("/first") == before[0]
