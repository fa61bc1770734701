import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest

from extproc.demo import model

KEY = "demo-key"
WEATHER: Any = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "record.jsonl"


@pytest.fixture(scope="module")
def url(record: Path) -> Iterator[str]:
    with model.running(key=KEY, record=record) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {KEY}"}, trust_env=False) as client:
        yield client


def asked(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **more}


def lines(record: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in record.read_bytes().splitlines()]


def test_the_openai_sdk_streams_parallel_calls(url: str) -> None:
    script = 'demo: call get_weather {"city": "Zürich"}\ndemo: call get_weather {"city": "Bern"}'
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as sdk:
        with sdk.chat.completions.stream(
            model="gpt-4o", messages=[{"role": "user", "content": script}], tools=[WEATHER]
        ) as stream:
            message = stream.get_final_completion().choices[0]
        assert message.finish_reason == "tool_calls"
        calls = [call.function.arguments for call in message.message.tool_calls or []]
        assert calls == ['{"city": "Zürich"}', '{"city": "Bern"}']
        assert {entry.id for entry in sdk.models.list()} >= {"gpt-4o-mini"}


def test_json_and_headers(client: httpx.Client) -> None:
    answer = client.post("/chat/completions", json=asked("hi"))
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"].startswith("Hello from the demo model")
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["x-ratelimit-remaining-tokens"]
    assert answer.json()["usage"]["prompt_tokens"] == len(answer.request.content) // 4


def test_every_request_is_on_record_before_its_answer(client: httpx.Client, record: Path) -> None:
    client.post("/chat/completions?x=1", json=asked("hi"), headers=[("X-Two", "1"), ("X-Two", "2")])
    last = lines(record)[-1]
    assert (last["method"], last["path"]) == ("POST", "/v1/chat/completions?x=1")
    assert [pair for pair in last["headers"] if pair[0] == "X-Two"] == [["X-Two", "1"], ["X-Two", "2"]]
    assert msgspec.json.decode(last["body"]) == asked("hi")
    client.post("/chat/completions", content=b"\xff\x00")
    assert lines(record)[-1]["body_base64"] == "/wA="
    assert record.stat().st_mode & 0o777 == 0o600


def test_errors(client: httpx.Client, url: str) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": KEY}):
        refused = httpx.post(f"{url}/chat/completions", json=asked("hi"), headers=headers, trust_env=False)
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "invalid_api_key"
    assert client.get("/chat/completions").status_code == 405
    assert client.post("/models").status_code == 405
    assert client.get("/nothing").status_code == 404
    bad = client.post("/chat/completions", json={"model": "m"})
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "messages")
    head = client.head("/models")
    assert (head.status_code, head.content) == (405, b"")
    assert client.get("/models").status_code == 200


def test_fail_so_many_times(client: httpx.Client) -> None:
    body = asked("demo: fail 429 retry-after=7 times=2 message=Slow down\ndemo: say at last", stream=True)
    first, second, third = (client.post("/chat/completions", json=body) for _ in range(3))
    assert (first.status_code, second.status_code) == (429, 429)
    assert first.headers["retry-after"] == "7"
    assert first.json()["error"]["message"] == "Slow down"
    assert third.status_code == 200
    assert third.text.endswith("data: [DONE]\n\n")


def test_a_clean_end_of_half_a_stream(client: httpx.Client) -> None:
    answer = client.post(
        "/chat/completions", json=asked("demo: say a long story, so it is\ndemo: truncate", stream=True)
    )
    assert "a long story" in answer.text
    assert "[DONE]" not in answer.text
    assert '"finish_reason":"' not in answer.text
    half = client.post("/chat/completions", json=asked("demo: say a long story, so it is\ndemo: truncate"))
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(half.content)


@pytest.mark.parametrize("stream", [True, False])
def test_a_cut_connection(client: httpx.Client, stream: bool) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        client.post("/chat/completions", json=asked("demo: reset", stream=stream))


def test_wrong_content_types(client: httpx.Client) -> None:
    html = client.post("/chat/completions", json=asked("demo: html", stream=True))
    assert (html.status_code, html.headers["content-type"]) == (200, "text/html; charset=utf-8")
    json = client.post("/chat/completions", json=asked("demo: json\ndemo: say hi", stream=True))
    assert json.json()["choices"][0]["message"]["content"] == "hi"


def test_slow_and_silent_streams(client: httpx.Client) -> None:
    with client.stream(
        "POST", "/chat/completions", json=asked("demo: silent 0.01\ndemo: slow 1", stream=True)
    ) as answer:
        assert sum(line.startswith("data: ") for line in answer.iter_lines()) > 4


def test_clients_that_leave_or_talk_nonsense(url: str, client: httpx.Client) -> None:
    where = httpx.URL(url)
    for data in (b"", b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 9\r\n\r\n{", b"\x16\x03\x01\r\n\r\n"):
        with socket.create_connection((where.host, where.port or 0), timeout=10) as raw:
            raw.sendall(data)
    with client.stream("POST", "/chat/completions", json=asked("demo: slow 1\ndemo: say " + "x" * 5000, stream=True)):
        pass
    assert client.get("/models").status_code == 200


def test_a_connection_is_used_again_and_closed_on_demand(url: str) -> None:
    where = httpx.URL(url)
    connection = http.client.HTTPConnection(where.host, where.port, timeout=10)
    for _ in range(2):
        connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {KEY}"})
        assert connection.getresponse().read()
    assert connection.sock is not None
    connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {KEY}", "connection": "close"})
    answer = connection.getresponse()
    assert answer.read()
    assert answer.will_close
    connection.close()


def test_32_mib(client: httpx.Client) -> None:
    answer = client.post("/chat/completions", json=asked("x" * (32 << 20)))
    assert answer.json()["usage"]["prompt_tokens"] > 8 << 20


def test_many_at_once(client: httpx.Client) -> None:
    statuses: list[int] = []

    def call() -> None:
        statuses.append(client.post("/chat/completions", json=asked("demo: slow 1", stream=True)).status_code)

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert statuses == [200] * 16


def test_a_taken_port(url: str) -> None:
    port = httpx.URL(url).port or 0
    with pytest.raises(OSError, match="in use"), model.running(port=port):
        pass


def test_as_a_process(tmp_path: Path) -> None:
    ready = tmp_path / "address.txt"
    command = [sys.executable, "-m", "extproc.demo.model", "--port", "0", "--ready-file", str(ready)]
    with subprocess.Popen(
        command, env={**os.environ, "DEMO_MODEL_KEY": KEY}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().removeprefix("demo model: ").strip()
            assert ready.read_text() == url + "\n"
            with httpx.Client(trust_env=False) as client:
                assert client.get(f"{url}/models").status_code == 401
                good = client.get(f"{url}/models", headers={"authorization": f"Bearer {KEY}"})
                assert good.status_code == 200
                process.send_signal(signal.SIGTERM)
                assert process.wait(timeout=10) == 0
        finally:
            process.kill()
        assert process.stderr is not None
        assert process.stderr.read() == ""
