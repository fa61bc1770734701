"""Uploads that are announced and do not come, or come slowly: they cost their caller, and nobody else."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e import wire
from tests.e2e.refusals import never_asked
from tests.e2e.stack import GATEWAY, ONE_WORKER, SECONDS, Model, Stack, prompt, text_of, up

RATE = 2000
IDLE = 2.5
BODY = 6000
"""Bytes; whole within IDLE + BODY / RATE seconds, 5.5."""
HASTY = GATEWAY + f"limits: {{body_min_rate: {RATE}, body_idle_seconds: {IDLE}}}\n"
NARROW = GATEWAY + "limits: {calls: 8}\n"


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("usual")
    with up(folder, environ={"MODEL_URL": model.url}, arguments=ONE_WORKER) as running:
        yield running


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("hasty")
    with up(folder, environ={"MODEL_URL": model.url}, config=HASTY, arguments=ONE_WORKER) as running:
        yield running


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("narrow")
    with up(folder, environ={"MODEL_URL": model.url}, config=NARROW, arguments=ONE_WORKER) as running:
        yield running


def announced(stack: Stack, size: int | None, path: str = "/v1/messages") -> bytes:
    """The head of a request whose body is still to come; `size`: None for one in chunks."""
    framing = "transfer-encoding: chunked" if size is None else f"content-length: {size}"
    lines = [f"POST {path} HTTP/1.1", "host: gateway", "content-type: application/json", framing]
    return "\r\n".join([*lines, f"authorization: Bearer {stack.good_token}", "", ""]).encode()


def body_of(size: int) -> bytes:
    empty = len(json.dumps(prompt("demo: say hi\n")))
    return json.dumps(prompt("demo: say hi\n" + "x" * (size - empty))).encode()


def answer_and_close(client: socket.socket) -> httpx.Response:
    """The answer, behind which the connection is closed: what comes later is no request."""
    answer = wire.read(client)
    assert answer.headers["connection"] == "close"
    with contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b""
    return answer


def test_silent_uploads_lock_nobody_out(usual: Stack, model: Model) -> None:
    """Each might become as large as is allowed, which eight of them would fill the worker with."""
    with contextlib.ExitStack() as held:
        for _ in range(16):
            held.enter_context(wire.connect(usual.url)).sendall(announced(usual, None))
        for _ in range(4):
            answer = usual.call(prompt("demo: say hi"), token=usual.token(claims={"sub": "somebody-else"}))
            assert (answer.status_code, text_of(answer.json())) == (200, "hi")


def test_one_caller_gets_its_share_and_others_are_served(narrow: Stack, model: Model) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(2):
            held.enter_context(wire.connect(narrow.url)).sendall(announced(narrow, None))
        refused = until_refused(narrow)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
        assert refused.json()["error"]["type"] == "rate_limit_error"
        record = narrow.record(refused)
        assert (record["reason"], record["error"]) == ("Overloaded", "caller_share")
        other = narrow.token(claims={"sub": "somebody-else"})
        assert narrow.call(prompt("demo: say hi"), token=other).status_code == 200
        assert narrow.call(method="GET", path="/v1/models").status_code == 200, "a list takes no room"


def until_refused(stack: Stack) -> httpx.Response:
    """When the heads that were sent have been read."""
    for _ in range(200):
        answer = stack.call(prompt("demo: say hi"))
        if answer.status_code != 200:
            return answer
    pytest.fail("nothing was refused")


def send_slowly(client: socket.socket, body: bytes, seconds: float) -> None:
    """All of `body`, evenly, in so many seconds; less of it where the gateway ends the call before."""
    pieces = [body[at : at + 100] for at in range(0, len(body), 100)]
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        for n, piece in enumerate(pieces, 1):
            client.sendall(piece)
            time.sleep(max(0.0, began + seconds * n / len(pieces) - time.monotonic()))


@pytest.mark.parametrize(
    ("size", "path"), [(None, "/v1/messages"), (BODY, "/v1/messages"), (None, "/v1/chat/completions")]
)
def test_a_silent_upload_is_ended(hasty: Stack, model: Model, size: int | None, path: str) -> None:
    with never_asked(model), wire.connect(hasty.url) as client:
        client.sendall(announced(hasty, size, path))
        answer = answer_and_close(client)
    assert (answer.status_code, answer.json()["error"]["type"]) == (408, "invalid_request_error")
    assert hasty.record(answer)["reason"] == "InvalidRequest"


def test_a_slow_upload_above_the_minimum_rate_is_served(hasty: Stack) -> None:
    """Three seconds of the five and a half that it has."""
    with wire.connect(hasty.url) as client:
        client.sendall(announced(hasty, BODY))
        send_slowly(client, body_of(BODY), 3)
        answer = wire.read(client)
    assert (answer.status_code, text_of(answer.json())) == (200, "hi")


def test_a_slow_upload_below_the_minimum_rate_is_ended(hasty: Stack, model: Model) -> None:
    """It is never silent, and takes ten seconds for what has five and a half."""
    with never_asked(model), wire.connect(hasty.url) as client:
        client.sendall(announced(hasty, BODY))
        sender = threading.Thread(target=send_slowly, args=(client, body_of(BODY), 10))
        sender.start()
        answer = answer_and_close(client)
        sender.join(SECONDS)
    assert (answer.status_code, answer.json()["error"]["type"]) == (408, "invalid_request_error")
    record = hasty.record(answer)
    assert (record["reason"], record["error"], record["jwt.sub"]) == (
        "InvalidRequest", "slow_body", "developer@acme.example"
    )  # fmt: skip


def test_a_body_that_has_arrived_has_no_deadline(hasty: Stack) -> None:
    answer = hasty.call(prompt("demo: silent 6\ndemo: say hi"))
    assert answer.status_code == 200


def test_a_slow_upload_over_http_2(hasty: Stack, model: Model) -> None:
    """Its stream is ended, not the connection."""

    def slowly() -> Iterator[bytes]:
        for at in range(0, BODY, 100):
            yield body_of(BODY)[at : at + 100]
            time.sleep(10 * 100 / BODY)

    headers = {"authorization": f"Bearer {hasty.good_token}"}
    with httpx.Client(http1=False, http2=True, verify=False, timeout=SECONDS) as client:
        with never_asked(model):
            sized = {**headers, "content-length": str(BODY)}
            answer = client.post(f"{hasty.url}/v1/messages", content=slowly(), headers=sized)
        assert (answer.status_code, answer.json()["error"]["type"]) == (408, "invalid_request_error")
        assert client.post(f"{hasty.url}/v1/messages", json=prompt("hello"), headers=headers).status_code == 200
