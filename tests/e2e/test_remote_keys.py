"""Servers of keys that answer badly, late or not at all, through the real Envoy."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

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
from tests.e2e.stack import Model, free_port
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


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_a_key_server_may_not_answer(tmp_path: Path, model: Model, server: KeyServer, name: str) -> None:
    one = Signer("a")
    answer, says = UNUSABLE[name]
    with key_server() as elsewhere:
        elsewhere.serve(one.jwk)
        headers = {key: value.format(elsewhere=elsewhere.url) for key, value in answer.headers.items()}
        server.answers["/jwks"] = replace(answer, headers=headers)
        with gateway(tmp_path, model, {"url": f"{server.url}/jwks", "ca_file": "ca.pem", "refresh": 1}) as stack:
            stack.err.first(lambda line: line if f"its keys cannot be fetched ({says}" in line else None)
            with never_asked(model):
                assert stack.call(BODY, token=one.token()).status_code == 503
            server.serve(one.jwk)
            until(lambda: stack.call(BODY, token=one.token()).status_code == 200)
        assert not elsewhere.asked


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
