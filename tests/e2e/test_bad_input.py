"""Bad input: a 4xx in the caller's dialect that names the path of the fault; the model never hears of it."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import wire
from tests.e2e.refusals import PROMPT, never_asked, refused
from tests.e2e.stack import GATEWAY, ONE_WORKER, Json, Model, Stack, prompt, up

GOOD = json.dumps(prompt(PROMPT)).encode()
DEEP = 100_000
MB = 1_000_000


def without(name: str) -> Json:
    return {key: value for key, value in prompt(PROMPT).items() if key != name}


def having(**members: Any) -> Json:
    return prompt(PROMPT) | members


def saying(*blocks: Any) -> Json:
    return having(messages=[{"role": "user", "content": PROMPT}, {"role": "user", "content": list(blocks)}])


NOT_OBJECTS: dict[str, tuple[bytes, str]] = {
    "not JSON": (GOOD[:-1], "not valid JSON"),
    "two documents": (GOOD + GOOD, "not valid JSON"),
    "an array": (b"[" + GOOD + b"]", "not a JSON object"),
    "a string": (json.dumps(PROMPT).encode(), "not a JSON object"),
    "invalid UTF-8": (GOOD.replace(PROMPT.encode(), PROMPT.encode() + b"\xff\xfe"), "not valid JSON"),
    "UTF-16": (json.dumps(prompt(PROMPT)).encode("utf-16"), "not valid JSON"),
    "compressed, unsaid": (gzip.compress(GOOD), "not valid JSON"),
    "deep arrays": (b"[" * DEEP, "not valid JSON"),
    "deep members": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "not valid JSON"),
    "an empty body": (b"", "a JSON body is required"),
    "NaN": (GOOD.replace(b"100", b"NaN"), "not valid JSON"),
}


@pytest.mark.parametrize(("body", "says"), NOT_OBJECTS.values(), ids=NOT_OBJECTS)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_a_body_that_is_no_object(stack: Stack, model: Model, path: str, body: bytes, says: str) -> None:
    with never_asked(model):
        answer = stack.call(body, path=path)
    message, record = refused(stack, answer, 400, "invalid_request_error")
    assert says in message and len(message) < 200
    assert (record["reason"], record["error"]) == ("InvalidRequest", "invalid:body")


def test_no_body_at_all(stack: Stack, model: Model) -> None:
    with never_asked(model):
        answer = wire.send(stack.url, f"authorization: Bearer {stack.good_token}")
    message, _ = refused(stack, answer, 400, "invalid_request_error")
    assert message == "a JSON body is required"


FAULTS: dict[str, Json] = {
    "messages": without("messages"),
    "max_tokens": without("max_tokens"),
    "model": without("model"),
    "stream": having(stream="yes"),
    "temperature": having(temperature=PROMPT),
    "tools": having(tools={}),
    "messages.0.role": having(messages=[{"role": "king", "content": PROMPT}]),
    "messages.1.content.1.text": saying({"type": "text", "text": PROMPT}, {"type": "text"}),
    "messages.1.content.0.source.data": saying(
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": 5}}
    ),
    "messages.1.content.0": saying({"type": "tool_result", "tool_use_id": "toolu_1", "content": PROMPT}),
    "tools.1.input_schema": having(tools=[{"name": "a", "input_schema": {"type": "object"}}, {"name": "b"}]),
}


@pytest.mark.parametrize("path", FAULTS)
def test_the_message_names_the_path_of_the_fault(stack: Stack, model: Model, path: str) -> None:
    with never_asked(model):
        answer = stack.call(FAULTS[path])
    message, record = refused(stack, answer, 400, "invalid_request_error")
    assert message.startswith(f"{path}: ")
    assert (record["reason"], record["error"]) == ("InvalidRequest", f"invalid:{path}")


@pytest.mark.parametrize(("name", "says"), [("mistral-x", "model: mistral-x"), ("x" * 2 * MB, "model: " + "x" * 200)])
def test_an_unknown_model(stack: Stack, model: Model, name: str, says: str) -> None:
    with never_asked(model):
        answer = stack.call(having(model=name))
    message, record = refused(stack, answer, 404, "not_found_error")
    assert message == says
    assert (record["reason"], record["error"]) == ("ModelNotFound", "unknown_model")
    assert record["gen_ai.request.model"] == name[:200]


def test_members_nobody_knows_do_not_flood_the_record(stack: Stack) -> None:
    answer = stack.call(having(**{f"member_{number}": 1 for number in range(MB // 10)}))
    assert answer.status_code == 200 and answer.headers["x-translation-warnings"].startswith("dropped:member_0,")
    assert stack.record(answer)["warnings"] == answer.headers["x-translation-warnings"]


HEADERS = [
    ({"content-type": "text/plain"}, "content-type"),
    ({"content-type": "application/x-www-form-urlencoded"}, "content-type"),
    ({"content-encoding": "gzip"}, "content-encoding"),
    ({"content-encoding": "br"}, "content-encoding"),
]


@pytest.mark.parametrize(("headers", "path"), HEADERS)
def test_a_body_of_another_kind(stack: Stack, model: Model, headers: dict[str, str], path: str) -> None:
    body = gzip.compress(GOOD) if "gzip" in headers.values() else GOOD
    with never_asked(model):
        answer = stack.call(body, headers=headers)
    message, record = refused(stack, answer, 415, "invalid_request_error")
    assert message.startswith(f"{path}: ")
    assert record["error"] == f"invalid:{path}"


def large(pieces: int) -> Iterator[bytes]:
    yield GOOD[:-2]
    yield from (PROMPT.encode() * (MB // len(PROMPT)) for _ in range(pieces))


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "chunked"])
def test_a_body_of_40_mb(stack: Stack, model: Model, chunked: bool) -> None:
    with never_asked(model):
        answer = stack.call(large(40) if chunked else b"".join(large(40)))
    message, record = refused(stack, answer, 413, "request_too_large")
    assert "too large" in message or "larger than 33554432 bytes" in message
    assert record["reason"] == "RequestTooLarge"


def test_a_body_of_30_mb_is_none_too_large(stack: Stack, model: Model) -> None:
    with never_asked(model):
        answer = stack.call(b"".join(large(30)))
    refused(stack, answer, 400, "invalid_request_error")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_the_wrong_method(stack: Stack, model: Model, method: str) -> None:
    with never_asked(model):
        answer = stack.call(GOOD, method=method)
    message, record = refused(stack, answer, 405, "invalid_request_error")
    assert answer.headers["allow"] == "POST" and message == f"{method} is not allowed here, use POST"
    assert (record["reason"], record["error"]) == ("InvalidRequest", "wrong_method")


def test_an_unknown_path(stack: Stack, model: Model) -> None:
    with never_asked(model):
        answer = stack.call(GOOD, path="/v1/complete")
    message, record = refused(stack, answer, 404, "not_found_error")
    assert message == "POST /v1/complete: there is no such endpoint"
    assert (record["reason"], record["error"]) == ("InvalidRequest", "unknown_path")


@pytest.mark.parametrize("target", ["/v1/responses/resp_1", "/v1/embeddings", "/v1/chat/completions/x"])
def test_openais_paths_are_refused_in_openais_words(stack: Stack, model: Model, target: str) -> None:
    with never_asked(model):
        answer = wire.send(stack.url, f"authorization: Bearer {stack.good_token}", target=target, body=GOOD)
    assert answer.status_code == 404
    error = {"type": "invalid_request_error", "param": None, "code": "unknown_url"}
    assert answer.json() == {"error": error | {"message": f"POST {target}: there is no such endpoint"}}
    record = stack.record(answer)
    assert (record["reason"], record["error"]) == ("InvalidRequest", "unknown_path")


def test_silent_warnings_are_for_the_log(tmp_path: Path, model: Model) -> None:
    config = GATEWAY + "translation: {strictness: silent}\n"
    with up(tmp_path, environ={"MODEL_URL": model.url}, config=config, arguments=ONE_WORKER) as stack:
        answer = stack.call({**prompt("demo: say hi"), "top_k": 3})
        assert answer.status_code == 200 and "x-translation-warnings" not in answer.headers
        assert stack.record(answer)["warnings"] == "dropped:top_k"


# What Envoy itself refuses: the first lines of a request, and what the log says of it.
NOT_SERVED = {
    "HTTP/1.0": (b"POST /v1/messages HTTP/1.0", b"", "low_version"),
    "an upgrade": (b"GET /v1/messages HTTP/1.1", b"connection: upgrade\r\nupgrade: websocket\r\n", "upgrade_failed"),
    "https to http": (b"GET https://x/v1/messages HTTP/1.1", b"", "http1.https_url_on_plaintext_connection"),
}


@pytest.mark.parametrize("name", NOT_SERVED)
def test_what_is_not_served_is_the_clients_mistake(stack: Stack, model: Model, name: str) -> None:
    line, fields, error = NOT_SERVED[name]
    with never_asked(model), wire.connect(stack.url) as client:
        client.sendall(line + b"\r\nhost: x\r\n" + fields + b"content-length: 0\r\n\r\n")
        answer = wire.read(client)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert stack.record_where(lambda line: line["error"] == error)["reason"] == "InvalidRequest"
