"""Numbers that are dear to parse, in bodies and in tokens that nobody signed: honest callers do not notice."""

import json
import statistics
import threading
import time
from collections.abc import Iterator
from typing import Self

import httpx
import pytest

from tests.e2e import forge
from tests.e2e.forge import claims, header
from tests.e2e.stack import Model, Stack, prompt, up

NUMBER = "9e307"
TOKEN_BYTES = 15_500
"""Below `max_token_bytes`."""
SECONDS = 4.0
ATTACKS_PER_SECOND = 100


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("costly")
    with up(folder, environ={"MODEL_URL": model.url}, arguments=["--workers", "1"]) as running:
        yield running


def costly_token() -> str:
    """Unsigned, and full of numbers in a claim."""
    count = TOKEN_BYTES * 3 // 4 // (len(NUMBER) + 1)
    head = json.dumps(header()).encode()
    payload = json.dumps(claims())[:-1] + f', "n": [{",".join([NUMBER] * (count - 100))}]}}'
    return forge.raw(head, payload.encode(), forge.unsigned)


def median(stack: Stack, seconds: float) -> tuple[float, int]:
    """Of honest calls, one after the other, for a time."""
    times: list[float] = []
    with httpx.Client(base_url=stack.url, verify=False, timeout=20) as client:
        headers = {"authorization": f"Bearer {stack.good_token}"}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            start = time.monotonic()
            answer = client.post("/v1/messages", json=prompt("demo: say hi"), headers=headers)
            times.append(time.monotonic() - start)
            assert answer.status_code == 200, answer.text
    return statistics.median(times), len(times)


class Attack:
    """Sends the same token again and again, whatever becomes of it."""

    def __init__(self, stack: Stack) -> None:
        self.statuses: list[int] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(stack,)) for _ in range(8)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, stack: Stack) -> None:
        headers = {"authorization": f"Bearer {costly_token()}"}
        with httpx.Client(base_url=stack.url, verify=False, timeout=30) as client:
            while not self._over.wait(len(self._threads) / ATTACKS_PER_SECOND):
                self.statuses.append(client.get("/v1/models", headers=headers).status_code)


def test_unsigned_tokens_full_of_costly_numbers(one_worker: Stack) -> None:
    """Each took a worker 16 ms or more once, so that these alone kept it busy."""
    alone, answers_alone = median(one_worker, SECONDS / 2)
    with Attack(one_worker) as attack:
        beside, answers = median(one_worker, SECONDS)
    assert set(attack.statuses) == {401} and len(attack.statuses) > SECONDS * ATTACKS_PER_SECOND / 8
    assert answers > 2 * answers_alone / 5
    assert beside < 6 * alone


def test_a_body_full_of_costly_numbers_is_read_like_any_other(one_worker: Stack) -> None:
    """A megabyte each. It took a worker seconds once, and Envoy took the worker for dead."""
    costly, plain = (full_of(number) for number in (NUMBER, "1.234"))
    assert seconds(one_worker, costly) < 15 * seconds(one_worker, plain)


def test_infinity_is_refused(one_worker: Stack) -> None:
    body = json.dumps(prompt("demo: say hi"))[:-1] + ', "temperature": 1e400}'
    answer = one_worker.call(body.encode())
    assert answer.status_code == 400
    assert "not valid JSON" in answer.json()["error"]["message"]


def full_of(number: str) -> bytes:
    numbers = ",".join([number] * (1_000_000 // (len(number) + 1)))
    return (json.dumps(prompt("demo: say hi"))[:-1] + f', "temperature": [{numbers}]}}').encode()


def seconds(stack: Stack, body: bytes) -> float:
    times = []
    for _ in range(3):
        start = time.monotonic()
        answer = stack.call(body)
        times.append(time.monotonic() - start)
        assert answer.status_code == 400
    return min(times)
