"""Clouds that fail in the midst of an answer, and token endpoints that are away, through the real Envoy."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.aws import PLACES, Bedrock, running, running_bedrock
from tests.e2e.clouds import EVENTS, chunk, exception, frames
from tests.e2e.issuer import until
from tests.e2e.stack import SECONDS, prompt


@pytest.fixture(scope="module")
def bedrock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bedrock]:
    with running_bedrock(tmp_path_factory.mktemp("bedrock")) as found:
        yield found


def test_an_exception_before_the_first_event_is_a_status(bedrock: Bedrock) -> None:
    bedrock.cloud.answer(frames(exception("throttlingException", "slow down")))
    got = bedrock.stack.call(prompt("hi", stream=True))
    assert (got.status_code, got.json()["error"]["type"]) == (429, "rate_limit_error")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("throttlingException", "rate_limit_error"),
        ("modelTimeoutException", "timeout_error"),
        ("modelStreamErrorException", "api_error"),
        ("serviceUnavailableException", "overloaded_error"),
    ],
)
def test_an_exception_in_the_midst_of_a_stream(bedrock: Bedrock, name: str, kind: str) -> None:
    bedrock.cloud.answer(frames(*map(chunk, EVENTS[:3]), exception(name, "no more")))
    got = bedrock.stack.call(prompt("hi", stream=True))
    assert got.status_code == 200 and "Gr" in got.text
    last = got.text.strip().split("\n\n")[-1]
    assert last.startswith("event: error") and kind in last and "no more" in last


def test_a_damaged_frame_ends_the_answer(bedrock: Bedrock) -> None:
    damaged = bytearray(chunk(EVENTS[3]))
    damaged[-1] ^= 1
    bedrock.cloud.answer(frames(*map(chunk, EVENTS[:3]), bytes(damaged), *map(chunk, EVENTS[4:])))
    got = bedrock.stack.call(prompt("hi", stream=True))
    assert "event: error" in got.text and "message_stop" not in got.text


def test_keys_are_renewed_under_load_and_kept_through_an_outage(tmp_path: Path) -> None:
    """Each set is good for four seconds, and is renewed after two."""
    with running(tmp_path, {"role": PLACES["role"]}, lifetime=4) as aws:
        statuses: list[int] = []
        over = threading.Event()

        def call() -> None:
            while not over.wait(0.01):
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
