"""TLS towards the provider: the certificate must be of a trusted authority, and for the provider's own name."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.certificates import certificate
from tests.e2e.canned import Canned, upstream
from tests.e2e.stack import GATEWAY, ONE_WORKER, Stack, prompt, up
from tests.e2e.test_vectors import FINE


def gateway(folder: Path, name: str, *, trusted: bool, days: int) -> Iterator[Stack]:
    with upstream(certificate(folder, name, days)) as provider:
        provider.answers["gpt-4o-mini"] = Canned(json.dumps(FINE["chat"]).encode())
        config = yaml.safe_load(GATEWAY.replace("${MODEL_URL}", provider.url))
        if trusted:
            config["providers"]["openai"]["ca_file"] = "ca.pem"
        with up(folder, config=yaml.safe_dump(config), arguments=ONE_WORKER) as running:
            yield running


@pytest.mark.parametrize(
    ("name", "trusted", "days", "status"),
    [
        ("localhost", True, 1, 200),
        ("elsewhere.test", True, 1, 529),
        ("localhost", True, -1, 529),
        ("localhost", False, 1, 529),
    ],
    ids=["good", "wrong name", "expired", "unknown authority"],
)
def test_the_providers_certificate(tmp_path: Path, name: str, trusted: bool, days: int, status: int) -> None:
    for stack in gateway(tmp_path, name, trusted=trusted, days=days):
        answer = stack.call(prompt("hello"))
        assert answer.status_code == status, answer.text
        line = stack.record(answer)
        assert line["reason"] == (None if status == 200 else "UpstreamUnavailable")
