"""AWS's credentials from every place that may be configured, renewed without a failed call, kept through an outage."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.e2e import clouds
from tests.e2e.aws import PLACES, Aws, running
from tests.e2e.clouds import MESSAGE
from tests.e2e.issuer import until
from tests.e2e.processes import children
from tests.e2e.stack import prompt


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with running(tmp_path_factory.mktemp("aws"), PLACES) as found:
        yield found


@pytest.mark.parametrize("name", PLACES)
def test_a_call_is_signed_with_keys_from(aws: Aws, name: str) -> None:
    answer = aws.stack.call(prompt("hi", model=f"claude-{name}"))
    assert (answer.status_code, answer.json()) == (200, MESSAGE)
    assert aws.cloud.last.headers["x-amz-security-token"].startswith("session-token-")


def test_each_is_asked_for_once(aws: Aws) -> None:
    """For both workers, and for those that take their place."""
    workers = [pid for pid, line in children(aws.stack.process.pid).items() if "extproc.transport.worker" in line]
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    until(lambda: aws.stack.call(prompt("hi", model="claude-role")).status_code == 200)
    role = "/latest/meta-data/iam/security-credentials/"
    instance = ["PUT /latest/api/token", f"GET {role}", f"GET {role}gateway"]
    assert sorted(aws.tokens.asked) == sorted([*["POST /sts"] * 3, "GET /container", *instance])


def test_nothing_shows_a_secret(aws: Aws) -> None:
    lines = "\n".join(children(aws.stack.process.pid).values())
    for text in (aws.stack.printed, lines):
        assert "secret-0000" not in text and "session-token" not in text and clouds.KEYS.secret_key not in text
