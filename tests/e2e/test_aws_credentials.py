"""AWS's credentials from every place that may be configured, renewed without a failed call, kept through an outage."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import clouds
from tests.e2e.clouds import MESSAGE, Cloud, answered
from tests.e2e.issuer import until
from tests.e2e.processes import children
from tests.e2e.stack import SECONDS, Stack, prompt, up
from tests.e2e.token_server import ROLE, SENT_KEYS, TokenServer

HEAD = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
providers:
"""
PLACES = {
    "role": f"{{aws: {{keys: KEYS, role: '{ROLE}', external_id: abc}}, endpoint: '${{TOKEN_URL}}/sts'}}",
    "web-identity": f"""{{
      aws: {{web_identity: {{role: '{ROLE}', token: {{file: token}}}}}},
      endpoint: '${{TOKEN_URL}}/sts'}}""",
    "container": "{aws: {container: true}}",
    "instance": "{aws: {instance: true}, endpoint: '${TOKEN_URL}'}",
    "profile": "{aws: {profile: of-a-role}, endpoint: '${TOKEN_URL}/sts'}",
}
KEYS = "{access_key_id: {env: KEY_ID}, secret_access_key: {env: SECRET_KEY}}"


def config(places: dict[str, str]) -> str:
    rows = [HEAD]
    for name, auth in places.items():
        rows.append(f"  {name}:\n    cloud: aws-bedrock\n    region: eu-central-1\n    dialects: [messages]\n")
        rows.append(f"    base_url: '${{CLOUD_URL}}'\n    auth: {auth.replace('KEYS', KEYS)}\n")
    rows.append("models:\n" + "".join(f"  - {{name: claude-{name}, provider: {name}, model: m}}\n" for name in places))
    return "".join(rows)


@dataclass(frozen=True)
class Aws:
    stack: Stack
    cloud: Cloud
    tokens: TokenServer


@contextmanager
def running(folder: Path, places: dict[str, str], lifetime: float = 3600) -> Iterator[Aws]:
    """Bedrock accepts the keys that were issued last, and those before them."""
    (folder / "token").write_text("the proof\n")
    profiles = f"[of-a-role]\nrole_arn = {ROLE}\nsource_profile = of-a-user\n[of-a-user]\n"
    profiles += f"aws_access_key_id = {clouds.KEYS.access_key}\naws_secret_access_key = {clouds.KEYS.secret_key}\n"
    (folder / "credentials").write_text(profiles)
    with ExitStack() as stack:
        tokens = stack.enter_context(TokenServer(lifetime).serving())

        def verify(seen: clouds.Received, method: str) -> str | None:
            found: str | None = "unknown keys"
            for number in range(tokens.issued, 0, -1):
                known = tokens.aws(number)
                if known.access_key in seen.headers.get("authorization", ""):
                    found = clouds.signed("eu-central-1", "bedrock", lambda: known)(seen, method)  # noqa: B023
            return found

        cloud = stack.enter_context(Cloud(verify).serving())
        cloud.answer(answered(MESSAGE))
        environ = {
            **SENT_KEYS,
            "CLOUD_URL": cloud.url,
            "TOKEN_URL": tokens.url,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{tokens.url}/container",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(folder / "token"),
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        }
        config_file = config(places)
        started = stack.enter_context(up(folder, environ=environ, config=config_file, arguments=["--workers", "2"]))
        yield Aws(started, cloud, tokens)


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


def test_keys_are_renewed_under_load_and_kept_through_an_outage(tmp_path: Path) -> None:
    """Each set is good for four seconds, and is renewed after two."""
    with running(tmp_path, {"role": PLACES["role"]}, lifetime=4) as aws:
        statuses: list[int] = []
        over = threading.Event()

        def call() -> None:
            while not over.is_set():
                statuses.append(aws.stack.call(prompt("hi", model="claude-role")).status_code)

        clients = [threading.Thread(target=call) for _ in range(3)]
        for client in clients:
            client.start()
        until(lambda: aws.tokens.issued >= 4)
        over.set()
        for client in clients:
            client.join(SECONDS)
        assert set(statuses) == {200} and len(statuses) > 20
        aws.tokens.is_down = True
        aws.stack.err.first(lambda line: line if "the one at hand stays in use" in line else None)
        assert aws.stack.call(prompt("hi", model="claude-role")).status_code == 200
        aws.stack.err.first(lambda line: line if "its calls are refused until it is" in line else None)
        answer = aws.stack.call(prompt("hi", model="claude-role"))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        record = aws.stack.record(answer)
        assert (record["reason"], record["error"]) == ("UpstreamUnavailable", "no_credential")
        aws.tokens.is_down = False
        aws.stack.err.nth(2, lambda line: line if "its credential is here" in line else None)
        assert aws.stack.call(prompt("hi", model="claude-role")).status_code == 200
