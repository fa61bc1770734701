"""AWS's credentials from every place that may be configured, renewed without a failed call, kept through an outage."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from botocore.credentials import Credentials

from tests.e2e import clouds
from tests.e2e.aws import PLACES, Aws, config, running
from tests.e2e.clouds import MESSAGE, Cloud, Received, answered
from tests.e2e.issuer import until
from tests.e2e.processes import children
from tests.e2e.stack import SECONDS, prompt, up


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


def test_keys_in_files_are_replaced_under_load(tmp_path: Path) -> None:
    """Both are good while the change lasts, as with AWS, where a user may have two access keys."""
    old, new = clouds.KEYS, Credentials("AKIANEW", "new-secret-0123456789")
    keys = tmp_path / "keys-of-aws"
    keys.mkdir()
    write(keys, old)

    def either(seen: Received, method: str) -> str | None:
        known = new if new.access_key in seen.headers.get("authorization", "") else old
        return clouds.signed("eu-central-1", "bedrock", lambda: known)(seen, method)

    files = "{access_key_id: {file: keys-of-aws/id}, secret_access_key: {file: keys-of-aws/secret}}"
    text = config({"files": f"{{aws: {{keys: {files}}}}}"})
    with ExitStack() as opened:
        cloud = opened.enter_context(Cloud(either).serving())
        cloud.answer(answered(MESSAGE))
        stack = opened.enter_context(up(tmp_path, environ={"CLOUD_URL": cloud.url}, config=text))
        statuses: list[int] = []
        over = threading.Event()

        def call() -> None:
            while not over.wait(0.01):
                statuses.append(stack.call(prompt("hi", model="claude-files")).status_code)

        client = threading.Thread(target=call)
        client.start()
        until(lambda: len(statuses) > 5)
        write(keys, new)
        until(lambda: new.access_key in cloud.last.headers["authorization"])
        over.set()
        client.join(SECONDS)
        assert set(statuses) == {200} and old.access_key in cloud.received[0].headers["authorization"]


def write(folder: Path, keys: Credentials) -> None:
    """Both files at once, so that no reload sees one of each."""
    for name, value in (("id", keys.access_key), ("secret", keys.secret_key)):
        (folder / f"{name}.new").write_text(value)
    for name in ("id", "secret"):
        (folder / f"{name}.new").rename(folder / name)
