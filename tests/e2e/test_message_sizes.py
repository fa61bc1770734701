"""The processor's limit for one message of Envoy's is hit by no body that is allowed, and by no answer."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.raw_provider import CHAT, RawProvider, whole
from tests.e2e.stack import GATEWAY, Stack, prompt, text_of, up

MEGABYTE = 1 << 20
SMALLEST = 1024


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, provider: RawProvider) -> Iterator[Stack]:
    """With the smallest `max_body_bytes` that can be configured."""
    folder, config = tmp_path_factory.mktemp("narrow"), f"{GATEWAY}\nmax_body_bytes: {SMALLEST}\n"
    with up(folder, environ={"MODEL_URL": provider.url}, config=config) as running:
        yield running


def padded(size: int) -> bytes:
    body = json.dumps(prompt("hi")).encode()
    return body + b" " * (size - len(body))


def test_answers_are_not_bounded_by_the_size_of_requests(narrow: Stack, provider: RawProvider) -> None:
    text = "x" * (20 * MEGABYTE)
    provider.plays(whole(CHAT.replace(b'"hi"', json.dumps(text).encode())))
    answer = narrow.call(padded(SMALLEST))
    assert answer.status_code == 200, answer.text[:1000]
    assert text_of(answer.json()) == text


def test_one_byte_more_than_a_body_may_have(narrow: Stack) -> None:
    assert narrow.call(padded(SMALLEST + 1)).status_code == 413


def test_the_largest_body_is_served(stack: Stack) -> None:
    answer = stack.call(padded(32 * MEGABYTE))
    assert answer.status_code == 200, answer.text[:1000]
