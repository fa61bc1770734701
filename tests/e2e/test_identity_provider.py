"""A real OpenID provider, through the real Envoy: discovery, a new key, and one that is down at the start."""

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.certificates import certificate
from tests.e2e.identity_provider import identity_provider
from tests.e2e.issuer import BODY, gateway, until
from tests.e2e.refusals import never_asked
from tests.e2e.stack import Model, Stack, free_port
from tests.e2e.test_health import ready


@pytest.fixture
def port(tmp_path: Path) -> int:
    certificate(tmp_path, "localhost")
    return free_port()


def discovered(folder: Path, model: Model, port: int, more: str = "") -> AbstractContextManager[Stack]:
    issuer = f"https://localhost:{port}"
    return gateway(folder, model, {"discovery": issuer, "ca_file": "ca.pem", "refresh": 1}, issuer, more=more)


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
