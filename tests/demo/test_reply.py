from typing import Any

import msgspec
import pytest

from extproc.demo.http1 import Headers, Request
from extproc.demo.reply import Model, Reply

POST = "/v1/chat/completions"


def request(text: str, *, stream: bool = True, target: str = POST, headers: Headers | None = None) -> Request:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "stream": stream}
    return Request("POST", target, "HTTP/1.1", headers or [], msgspec.json.encode(body))


def reply(model: Model, text: str, **more: Any) -> Reply:
    return model.reply(request(text, **more), "n", 1)


def test_equal_input_gives_equal_bytes() -> None:
    assert reply(Model(), "hi") == reply(Model(), "hi")


def test_the_query_does_not_matter() -> None:
    assert reply(Model(), "hi", target=f"{POST}?a=b").status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 401),
        ([("Authorization", "Bearer no")], 401),
        ([("Authorization", "Bearer k"), ("authorization", "Bearer k")], 401),
        ([("AUTHORIZATION", "Bearer k")], 200),
    ],
)
def test_the_key(headers: Headers, status: int) -> None:
    assert reply(Model("k"), "hi", headers=headers).status == status


def test_faults_are_counted_by_line_and_used_up_in_turn() -> None:
    model = Model()
    script = "demo: fail 500 times=1\ndemo: truncate times=1\ndemo: say a long enough story"
    first, second, third = (reply(model, script) for _ in range(3))
    assert (first.status, second.status, third.status) == (500, 200, 200)
    assert len(second.pieces) < len(third.pieces)
    assert third.pieces[-1] == b"data: [DONE]\n\n"
    assert reply(model, "demo: fail 500 times=1 code=other").status == 500


def test_a_fault_without_times_stays() -> None:
    model = Model()
    assert [reply(model, "demo: fail 529").status for _ in range(3)] == [529] * 3


@pytest.mark.parametrize("stream", [True, False])
def test_cut_answers(stream: bool) -> None:
    whole = b"".join(reply(Model(), "demo: say something long enough", stream=stream).pieces)
    for fault, cut in (("truncate", False), ("reset", True)):
        said = reply(Model(), f"demo: say something long enough\ndemo: {fault}", stream=stream)
        sent = b"".join(said.pieces)
        assert (said.chunked, said.cut) == (True, cut)
        assert 0 < len(sent) < len(whole)


def test_times() -> None:
    said = reply(Model(), "demo: silent 2\ndemo: slow 30\ndemo: fail 500")
    assert (said.status, said.silent, said.slow) == (500, 2, 0.03)


def test_an_error_says_what_the_script_says() -> None:
    said = reply(Model(), "demo: fail 400 code=context_length_exceeded message=too long by far")
    error = msgspec.json.decode(said.pieces[0])["error"]
    assert (error["message"], error["code"]) == ("too long by far", "context_length_exceeded")
