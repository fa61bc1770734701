"""A provider that quotes its own key and address in its errors, whatever they look like."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.raw_provider import SAID, STREAM, RawProvider, whole
from tests.e2e.stack import ONE_WORKER, Stack, prompt, up

KEY = "Zq7LkPw0mBn3vXy9"
ASKED: dict[str, dict[str, Any]] = {
    "/v1/messages": {"model": "claude-x", "max_tokens": 9},
    "/v1/chat/completions": {"model": "gpt-x"},
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory, provider: RawProvider) -> Iterator[Stack]:
    environ = {"MODEL_URL": provider.url, "MODEL_KEY": KEY}
    with up(tmp_path_factory.mktemp("quoting"), environ=environ, arguments=ONE_WORKER) as running:
        yield running


def quoting(provider: RawProvider) -> bytes:
    place = urlsplit(provider.url).netloc
    return b'{"error":{"message":"no %b at %b, please","type":"x","code":null,"param":null}}' % (
        KEY.encode(),
        place.encode(),
    )


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("form", ["an error", "an error in a 200", "an error in a stream"])
def test_no_error_tells(raw: Stack, provider: RawProvider, path: str, form: str) -> None:
    error = quoting(provider)
    answers = {
        "an error": whole(error, status="400 Bad Request"),
        "an error in a 200": whole(error),
        "an error in a stream": STREAM + SAID + b"data: " + error + b"\n\n",
    }
    provider.plays(answers[form])
    stream = form.endswith("stream")
    answer = raw.call({**prompt("hello"), **ASKED[path], "stream": stream}, path=path)
    assert answer.status_code == {"an error": 400, "an error in a 200": 502, "an error in a stream": 200}[form]
    assert "please" in answer.text
    assert KEY not in answer.text and urlsplit(provider.url).netloc not in answer.text
    assert raw.record(answer)["reason"] == "Upstream"
    assert KEY not in raw.printed
