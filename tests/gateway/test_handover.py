"""What admission hands over: enough for each attempt, and no secret."""

import base64
from pathlib import Path

import pytest

from extproc.config.schema_models import Failover
from extproc.gateway.handover import decoded, encoded, retries
from tests.failing_over import ASK, KEYS, Call, gateway
from tests.issuing import token

MODELS = "models: [{name: 'm*', providers: [{provider: b}, {provider: a}], failover: {attempts: 5}}]"


@pytest.fixture
def call(tmp_path: Path) -> Call:
    ask = ASK | {"model": "mü", "messages": [{"role": "user", "content": "my-darkest-secret"}]}
    return Call(gateway(tmp_path, MODELS), ask, cookie="a=b", anthropic_version="2023-06-01", anthropic_beta="x-1")


def test_it_comes_back_as_it_was(call: Call) -> None:
    found = call.handover
    assert decoded(encoded(found)) == found and encoded(found).isascii()
    assert (found.asked, found.dialect, found.order, found.path) == ("mü", "messages", (1, 2), "/v1/messages")
    assert found.call.request.headers.get("anthropic-beta") == "x-1"


def test_it_holds_no_secret(call: Call) -> None:
    raw = base64.urlsafe_b64decode(call.handed_over.handover)
    for secret in (*KEYS.values(), token(), "my-darkest-secret", "a=b"):
        assert secret.encode() not in raw


@pytest.mark.parametrize("value", ["", "-", "AAAA", "%%%", "x" * 5000, "wQ=="])
def test_what_no_admission_wrote_is_refused(value: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - also that of base64
        decoded(value)


def test_clients_credentials_end_here(call: Call) -> None:
    handed = call.handed_over
    assert {"authorization", "cookie", "anthropic-version"} <= set(handed.remove_headers)
    assert not {"authorization", "x-api-key"} & handed.set_headers.keys()
    assert [cluster.split(":")[:2] for cluster in handed.clusters] == [["attempt", "b"], ["attempt", "a"]]


@pytest.mark.parametrize(
    ("on", "wanted"),
    [
        (["connect"], {"x-envoy-retry-on": "connect-failure,refused-stream"}),
        (["reset"], {"x-envoy-retry-on": "reset"}),
        (["timeout"], {"x-envoy-retry-on": "reset", "x-envoy-upstream-rq-per-try-timeout-ms": "1500"}),
        (["429"], {}),
    ],
)
def test_what_envoy_moves_on_by_itself(on: list[str], wanted: dict[str, str]) -> None:
    failover = Failover.model_validate({"on": on, "per_try_timeout": 1.5})
    assert retries(failover, 3) == {"x-envoy-max-retries": "2"} | wanted
