"""Servers of keys that answer badly, late or not at all, through the real Envoy."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from jwt.algorithms import RSAAlgorithm

from extproc.policy.keys.fetch import MAX_BYTES, WELL_KNOWN
from tests.certificates import certificate
from tests.e2e import forge
from tests.e2e.issuer import AUDIENCE, BODY, CONFIG, ISSUER, Signer, gateway, until
from tests.e2e.processes import children
from tests.e2e.refusals import never_asked
from tests.e2e.stack import Json, Model, Stack, free_port, up
from tests.key_server import Answer, KeyServer, key_server


def test_random_kids_do_not_reach_the_provider(tmp_path: Path, model: Model, server: KeyServer) -> None:
    one, other = Signer("a"), Signer("b")
    server.serve(one.jwk, cache_control="max-age=0")
    with gateway(tmp_path, model, {"url": f"{server.url}/jwks", "ca_file": "ca.pem"}, workers=2) as stack:
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


def test_one_fetch_serves_all_workers(tmp_path: Path, model: Model, server: KeyServer) -> None:
    """At the start, for tokens with unknown kids, and for a worker that comes back while the provider is gone."""
    one = Signer("a")
    server.serve(one.jwk)
    with gateway(tmp_path, model, {"url": f"{server.url}/jwks", "ca_file": "ca.pem"}, workers=3) as stack:
        for number in range(30):
            token = one.token(kid=f"random-{number}") if number % 2 else one.token()
            assert stack.call(BODY, token=token).status_code == (401 if number % 2 else 200)
        assert server.asked == ["/jwks"] * 2
        server.answers.clear()
        workers = [pid for pid, line in children(stack.process.pid).items() if "extproc.transport.worker" in line]
        assert len(workers) == 3
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        until(lambda: stack.call(BODY, token=one.token()).status_code == 200)
        assert server.asked == ["/jwks"] * 2


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


def test_keys_that_are_of_no_use_are_left_out(tmp_path: Path, model: Model, server: KeyServer) -> None:
    """And one without a `kid` is found all the same."""
    one, short = Signer("a"), rsa.generate_private_key(65537, 1024)
    entry = {**json.loads(RSAAlgorithm.to_jwk(short.public_key())), "kid": "short"}
    server.serve({name: value for name, value in one.jwk.items() if name != "kid"}, entry)
    weak = forge.token(
        {"alg": "RS256", "kid": "short"},
        {"iss": ISSUER, "aud": AUDIENCE, "team": "data", "exp": int(time.time()) + 600},
        lambda data: short.sign(data, padding.PKCS1v15(), hashes.SHA256()),
    )
    with gateway(tmp_path, model, {"url": f"{server.url}/jwks", "ca_file": "ca.pem"}) as stack:
        assert stack.call(BODY, token=one.token()).status_code == 200
        with never_asked(model):
            refused = stack.call(BODY, token=weak)
        assert refused.status_code == 401 and stack.record(refused)["error"] == "unknown_key"
        stack.err.first(lambda line: line if "an RSA key of 1024 bits; at least 2048 are required" in line else None)


# What a key server answers, and what the log says of it.
UNUSABLE = {
    "a redirect": (Answer(status=302, headers={"location": "{elsewhere}/jwks"}), "a redirect to another host"),
    "too much": (Answer(b" " * (MAX_BYTES + 1)), f"more than {MAX_BYTES} bytes"),
    "no JSON": (Answer(b"<html>"), "not JSON"),
    "nothing at all": (Answer(hangs=True), "no answer"),
}


class Issuer:
    """One of two at a key server, in a folder of its own there, whose keys are good for a second or two."""

    def __init__(self, name: str, server: KeyServer) -> None:
        self.name, self.server = f"https://{name}.test", server
        self.folder, self.jwks, self.document = f"/{name}", f"/{name}/jwks", f"/{name}{WELL_KNOWN}"
        self.signer = Signer("a", self.name)

    def entry(self, **place: str) -> Json:
        """Of the gateway's configuration."""
        jwks = {**place, "ca_file": "ca.pem", "refresh": 1, "max_stale": 1}
        return {"issuer": self.name, "audiences": [AUDIENCE], "algorithms": ["ES256"], "jwks": jwks}

    def serve(self) -> None:
        self.server.serve(self.signer.jwk, path=self.jwks)

    def serve_document(self, **changes: str) -> None:
        right = {"issuer": self.name, "jwks_uri": self.server.url + self.jwks}
        self.server.serve_json(self.document, right | changes)


@dataclass
class Trusting:
    """A gateway that has the keys of two issuers at the beginning of each test."""

    stack: Stack
    model: Model
    by_url: Issuer
    by_discovery: Issuer

    def call(self, issuer: Issuer) -> httpx.Response:
        return self.stack.call(BODY, token=issuer.signer.token())

    def await_complaint(self, issuer: Issuer, says: str) -> None:
        complaint = f"issuer {issuer.name!r}: its keys cannot be fetched ({says}"
        self.stack.err.first(lambda line: complaint in line or None)

    def await_refusal(self, issuer: Issuer) -> None:
        """When the keys from before have ended."""
        until(lambda: self.call(issuer).status_code == 503)
        with never_asked(self.model):
            answer = self.call(issuer)
        assert (answer.status_code, self.stack.record(answer)["error"]) == (503, "keys_unavailable")

    def await_acceptance(self, issuer: Issuer) -> None:
        until(lambda: self.call(issuer).status_code == 200)


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Trusting]:
    folder = tmp_path_factory.mktemp("trusting")
    with key_server(certificate(folder, "localhost")) as server:
        by_url, by_discovery = Issuer("by-url", server), Issuer("by-discovery", server)
        entries = [
            by_url.entry(url=server.url + by_url.jwks),
            by_discovery.entry(discovery=server.url + by_discovery.folder),
        ]
        config = f"authentication: {json.dumps({'jwt': entries})}\n"
        config += CONFIG[CONFIG.index("authorization:") :].format()
        with up(folder, environ={"MODEL_URL": model.url}, config=config, arguments=["--workers", "1"]) as stack:
            found = Trusting(stack, model, by_url, by_discovery)
            # It starts when there are no keys yet, and refuses tokens.
            with never_asked(model):
                assert {found.call(one).status_code for one in (by_url, by_discovery)} == {503}
            by_url.serve()
            by_discovery.serve()
            by_discovery.serve_document()
            found.await_acceptance(by_url)
            found.await_acceptance(by_discovery)
            yield found


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_a_key_server_may_not_answer(trusting: Trusting, name: str) -> None:
    issuer, (answer, says) = trusting.by_url, UNUSABLE[name]
    with key_server() as elsewhere:
        elsewhere.serve(issuer.signer.jwk)
        headers = {key: value.format(elsewhere=elsewhere.url) for key, value in answer.headers.items()}
        issuer.server.answers[issuer.jwks] = replace(answer, headers=headers)
        trusting.await_complaint(issuer, says)
        trusting.await_refusal(issuer)
        issuer.serve()
        trusting.await_acceptance(issuer)
        assert not elsewhere.asked


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"issuer": "https://other.test"}, "the discovery document is another issuer's"),
        ({"jwks_uri": "http://idp.test/jwks"}, "the discovery document's jwks_uri is not an HTTPS URL"),
    ],
)
def test_a_discovery_that_is_not_believed(trusting: Trusting, document: dict[str, str], says: str) -> None:
    issuer = trusting.by_discovery
    issuer.serve_document(**document)
    trusting.await_complaint(issuer, says)
    before = len(issuer.server.asked)
    trusting.await_refusal(issuer)
    assert issuer.jwks not in issuer.server.asked[before:]
    issuer.serve_document()
    trusting.await_acceptance(issuer)


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
