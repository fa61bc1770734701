"""A provider is asked again before the client has got a byte, with the same body; never afterwards, never for long."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.raw_provider import CHAT, ENDED, FINE, SAID, STREAM, Play, RawProvider, resets, whole
from tests.e2e.stack import GATEWAY, Stack, free_port, prompt, up

CONFIG = GATEWAY.replace(
    "models:",
    """  never: {dialects: [chat], base_url: "${MODEL_URL}", retries: off}
  patient: {dialects: [chat], base_url: "${MODEL_URL}", retries: {attempts: 3, longest_wait: 1}}
  nobody: {dialects: [chat], base_url: "http://127.0.0.1:${PORT}/v1"}
routes:
  - {path: "/raw*", serve: passthrough, provider: openai}
models:
  - {name: never, provider: never}
  - {name: patient, provider: patient}
  - {name: nobody, provider: nobody}""",
)
OWN_HEADER = "x-extproc-retry"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, provider: RawProvider) -> Iterator[Stack]:
    environ = {"MODEL_URL": provider.url, "PORT": str(free_port())}
    with up(tmp_path_factory.mktemp("retries"), environ=environ, config=CONFIG) as running:
        yield running


def busy(status: int, *fields: str) -> bytes:
    return whole(b'{"error":{"message":"busy","type":null,"code":null}}', *fields, status=f"{status} Busy")


@dataclass(frozen=True)
class Case:
    plays: tuple[Play | bytes, ...]
    asked: int
    status: int
    model: str = "claude-x"


RESET = resets()
CASES: dict[str, Case] = {
    "reset, then an answer": Case((RESET, FINE), 2, 200),
    "reset, closed, then an answer": Case((RESET, b"", FINE), 3, 200, "patient"),
    "reset each time": Case((RESET,), 2, 529),
    "reset each time, three attempts": Case((RESET,), 3, 529, "patient"),
    "reset, retries off": Case((RESET, FINE), 1, 529, "never"),
    "429 after 1": Case((busy(429, "retry-after: 1"), FINE), 2, 200),
    "503 after 1": Case((busy(503, "retry-after: 1"), FINE), 2, 200, "patient"),
    "529 after 1": Case((busy(529, "retry-after: 1", "x-should-retry: true"), FINE), 2, 200),
    "429 after 1, retries off": Case((busy(429, "retry-after: 1"), FINE), 1, 429, "never"),
    "429 after 2, where 1 is waited for": Case((busy(429, "retry-after: 2"), FINE), 1, 429, "patient"),
    "429 after 3": Case((busy(429, "retry-after: 3"), FINE), 1, 429),
    "429 after 0": Case((busy(429, "retry-after: 0"), FINE), 1, 429),
    "429 without a time": Case((busy(429), FINE), 1, 429),
    "429 after a date": Case((busy(429, "retry-after: Wed, 21 Oct 2099 07:28:00 GMT"), FINE), 1, 429),
    "429 that forbids it": Case((busy(429, "retry-after: 1", "x-should-retry: false"), FINE), 1, 429),
    "500 after 1": Case((busy(500, "retry-after: 1"), FINE), 1, 500),
    "200 after 1": Case((FINE.replace(b"\r\n\r\n", b"\r\nretry-after: 1\r\n\r\n"), busy(500)), 1, 200),
    "200 with our own header": Case((whole(CHAT, f"{OWN_HEADER}: 429 after 1 "), FINE), 1, 200),
    "broken off in the answer": Case((resets(FINE[:-20]), FINE), 1, 502),
}


@pytest.mark.parametrize("name", CASES)
def test_how_often_a_provider_is_asked(stack: Stack, provider: RawProvider, name: str) -> None:
    case = CASES[name]
    provider.plays(*case.plays)
    answer = stack.call(prompt("hello " * 1000, model=case.model))
    assert (answer.status_code, len(provider.bodies)) == (case.status, case.asked), answer.text
    assert len(set(provider.bodies)) == 1 and b"hello hello" in provider.bodies[0]
    assert OWN_HEADER not in answer.headers
    assert (stack.record(answer)["reason"] is None) == (case.status == 200)


def test_the_last_answers_time_reaches_the_client(stack: Stack, provider: RawProvider) -> None:
    provider.plays(busy(503, "retry-after: 1"), busy(429, "retry-after: 7"))
    answer = stack.call(prompt("hello"))
    assert (answer.status_code, answer.headers["retry-after"], len(provider.bodies)) == (429, "7", 2)
    assert answer.json()["error"]["type"] == "rate_limit_error"


def test_no_connection(stack: Stack) -> None:
    answer = stack.call(prompt("hello", model="nobody"))
    assert (answer.status_code, answer.json()["error"]["type"]) == (529, "overloaded_error")
    record = stack.record(answer)
    # URX: the limit of retries was reached; UF: no connection.
    assert record["reason"] == "UpstreamUnavailable" and set(record["flags"].split(",")) == {"URX", "UF"}


def test_a_stream_that_begins_at_the_second_attempt(stack: Stack, provider: RawProvider) -> None:
    provider.plays(RESET, STREAM + SAID + ENDED)
    answer = stack.call(prompt("hello", stream=True))
    assert answer.status_code == 200 and answer.text.count("event: message_start") == 1
    assert "message_stop" in answer.text and len(provider.bodies) == 2


def test_a_stream_that_breaks_off_is_not_begun_again(stack: Stack, provider: RawProvider) -> None:
    provider.plays(STREAM + SAID, STREAM + SAID + ENDED)
    answer = stack.call(prompt("hello", stream=True))
    assert "event: error" in answer.text and "message_stop" not in answer.text
    assert len(provider.bodies) == 1


@pytest.mark.parametrize("first", [RESET, busy(429, "retry-after: 1")], ids=["reset", "429 after 1"])
def test_what_passes_through(stack: Stack, provider: RawProvider, first: Play | bytes) -> None:
    provider.plays(first, FINE)
    answer = stack.call(b"x" * 300_000, path="/raw/x")
    assert answer.status_code == 200 and OWN_HEADER not in answer.headers
    assert provider.bodies == [b"x" * 300_000] * 2
