"""Keys that are fetched, through the real Envoy: discovery, rotation under load, and providers that are down."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from extproc.policy.fetch import WELL_KNOWN
from tests.certificates import certificate
from tests.e2e.identity_provider import identity_provider
from tests.e2e.refusals import never_asked
from tests.e2e.reloading import Reloads
from tests.e2e.stack import Model, Stack, free_port, prompt, up
from tests.e2e.test_health import ready
from tests.key_server import KeyServer, key_server

BODY = json.dumps(prompt("hello")).encode()
ISSUER, AUDIENCE = "https://idp.test", "gateway"
CONFIG = """
authentication:
  jwt:
    - issuer: {issuer}
      audiences: [gateway, llm-gateway]
      algorithms: [ES256, RS256]
      jwks: {jwks}
authorization:
  allow: ['jwt.team == "data"']
providers:
  openai: {{dialects: [chat], base_url: "${{MODEL_URL}}", api_key: {{env: MODEL_KEY}}}}
models:
  - {{name: "claude-*", provider: openai, model: gpt-4o-mini}}
"""


def gateway(
    folder: Path, model: Model, jwks: dict[str, Any], issuer: str = ISSUER, workers: int = 1, more: str = ""
) -> AbstractContextManager[Stack]:
    config = CONFIG.format(issuer=json.dumps(issuer), jwks=json.dumps(jwks)) + more
    return up(folder, environ={"MODEL_URL": model.url}, config=config, arguments=["--workers", str(workers)])


class Signer:
    """One key of an issuer."""

    def __init__(self, kid: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._kid = kid
        self.jwk = {**json.loads(ECAlgorithm.to_jwk(self._key.public_key())), "kid": kid}

    def token(self, **header: Any) -> str:
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "team": "data", "exp": int(time.time()) + 600}
        payload = json.dumps({**claims, "jti": str(time.monotonic_ns())}).encode()
        return jwt.api_jws.encode(payload, self._key, algorithm="ES256", headers={"kid": self._kid, **header})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KeyServer]:
    with key_server(certificate(tmp_path, "localhost")) as running:
        yield running


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"


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
            while not self._over.is_set():
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


def test_random_kids_do_not_reach_the_provider(tmp_path: Path, model: Model, server: KeyServer) -> None:
    one, other = Signer("a"), Signer("b")
    server.serve(one.jwk, cache_control="max-age=0")
    with gateway(tmp_path, model, {"url": f"{server.url}/jwks", "ca_file": "ca.pem"}) as stack:
        before, began = len(server.asked), time.monotonic()
        with never_asked(model):
            for number in range(40):
                answer = stack.call(BODY, token=one.token(kid=f"random-{number}"))
                assert answer.status_code == 401 and stack.record(answer)["error"] == "unknown_key"
        # One for all of these, and those in the background, every 10 s.
        assert 1 <= len(server.asked) - before <= 2 + (time.monotonic() - began) // 10
        assert stack.call(BODY, token=one.token()).status_code == 200
        server.serve(one.jwk, other.jwk)
        until(lambda: stack.call(BODY, token=other.token()).status_code == 200)


def test_a_provider_that_goes_down_later(tmp_path: Path, model: Model) -> None:
    one, port = Signer("a"), free_port()
    context = certificate(tmp_path, "localhost")
    jwks = {"url": f"https://localhost:{port}/jwks", "ca_file": "ca.pem", "refresh": 1, "max_stale": 4}
    with key_server(context, port) as server:
        server.serve(one.jwk)
        with gateway(tmp_path, model, jwks) as stack:
            assert stack.call(BODY, token=one.token()).status_code == 200
            server.answers.clear()
            stack.err.first(lambda line: line if "the ones at hand stay in use" in line else None)
            kept = one.token()
            assert stack.call(BODY, token=kept).status_code == 200
            until(lambda: stack.call(BODY, token=kept).status_code != 200)
            answer = stack.call(BODY, token=kept)
            assert (answer.status_code, answer.json()["error"]) == (
                503,
                {"type": "api_error", "message": "credentials cannot be verified at the moment"},
            )
            record = stack.record(answer)
            assert (record["reason"], record["error"]) == ("JwtAuth", "keys_unavailable")
            stack.err.first(
                lambda line: line if "(status 404); its tokens are refused until they are" in line else None
            )
            server.serve(one.jwk)
            until(lambda: stack.call(BODY, token=kept).status_code == 200)


@pytest.fixture
def port(tmp_path: Path) -> int:
    certificate(tmp_path, "localhost")
    return free_port()


def discovered(folder: Path, model: Model, port: int, more: str = "") -> AbstractContextManager[Stack]:
    issuer = f"https://localhost:{port}"
    return gateway(folder, model, {"discovery": issuer, "ca_file": "ca.pem", "refresh": 1}, issuer, more=more)


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


def test_check_fetches_keys_too(tmp_path: Path, model: Model, server: KeyServer) -> None:
    one = Signer("a")
    server.serve(one.jwk)
    jwks = {"url": f"{server.url}/jwks", "ca_file": "ca.pem"}
    (tmp_path / "gateway.yaml").write_text(CONFIG.format(issuer=ISSUER, jwks=json.dumps(jwks)))
    command = [sys.executable, "-m", "extproc", "check", "--model", "claude-x"]
    environ = {"PATH": os.environ["PATH"], "MODEL_URL": model.url, "MODEL_KEY": "k", "EXTPROC_TOKEN": one.token()}
    for says in ("allowed", "(JwtAuth, keys_unavailable)"):
        done = subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout.splitlines()[-1].endswith(says), done.stdout + done.stderr
        server.answers.clear()


def test_a_real_identity_provider(tmp_path: Path, model: Model, port: int) -> None:
    with identity_provider(tmp_path, port) as provider, discovered(tmp_path, model, port) as stack:
        first = provider.id_token("ann", team="data")
        answer = stack.call(BODY, token=first)
        assert answer.status_code == 200, answer.text
        record = stack.record(answer)
        assert (record["jwt.sub"], record["jwt.iss"]) == ("ann", provider.issuer)
        other = stack.call(BODY, token=provider.id_token("bob", team="shop"))
        assert other.status_code == 403 and stack.record(other)["jwt.sub"] == "bob"
        with never_asked(model):
            assert stack.call(BODY, token=first[:-8] + "AAAAAAAA").status_code == 401


def test_a_provider_with_a_new_key(tmp_path: Path, model: Model, port: int) -> None:
    """Where keys have no names (some versions of the package), a new one makes bad signatures until it is here."""
    with ExitStack() as exits:
        with identity_provider(tmp_path, port) as provider:
            first = provider.id_token("ann", team="data")
            stack = exits.enter_context(discovered(tmp_path, model, port))
            assert stack.call(BODY, token=first).status_code == 200
        with identity_provider(tmp_path, port) as again:
            second = again.id_token("ann", team="data")
            until(lambda: stack.call(BODY, token=second).status_code == 200)
            assert stack.call(BODY, token=first).status_code == 401


def test_a_provider_that_is_down_at_the_start(tmp_path: Path, model: Model, port: int) -> None:
    health = free_port()
    with discovered(tmp_path, model, port, f"health: {{port: {health}}}") as stack:
        said = "its keys cannot be fetched (Connection refused); its tokens are refused until they are"
        stack.err.first(lambda line: line if said in line else None)
        assert ready(health)[0] == 503
        with never_asked(model):
            answer = stack.call(BODY, token="whatever")
        assert answer.status_code == 503
        assert answer.json()["error"] == {
            "type": "api_error",
            "message": "the gateway cannot process requests at the moment",
        }
        with identity_provider(tmp_path, port) as provider:
            token = provider.id_token("ann", team="data")
            until(lambda: stack.call(BODY, token=token).status_code == 200)
            assert ready(health)[0] == 200
        stack.err.first(lambda line: line if "its keys are here, 1 in number" in line else None)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"issuer": "https://other.test"}, "the discovery document is another issuer's"),
        ({"jwks_uri": "http://idp.test/jwks"}, "the discovery document's jwks_uri is not an HTTPS URL"),
    ],
)
def test_a_discovery_that_is_not_believed(
    tmp_path: Path, model: Model, server: KeyServer, document: dict[str, str], says: str
) -> None:
    one = Signer("a")
    server.serve(one.jwk)
    good = {"issuer": ISSUER, "jwks_uri": f"{server.url}/jwks"}
    server.serve_json(WELL_KNOWN, good | document)
    with gateway(tmp_path, model, {"discovery": server.url, "ca_file": "ca.pem", "refresh": 1}) as stack:
        stack.err.first(lambda line: line if says in line else None)
        with never_asked(model):
            assert stack.call(BODY, token=one.token()).status_code == 503
        assert "/jwks" not in server.asked
        server.serve_json(WELL_KNOWN, good)
        until(lambda: stack.call(BODY, token=one.token()).status_code == 200)
