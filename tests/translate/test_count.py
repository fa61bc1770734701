from typing import Any

import pytest

from extproc.errors import Rejection
from extproc.translate.count import estimate
from extproc.translate.signature import seal
from extproc.wire.media_tokens import IMAGE_MAX
from tests.translate.asking import assistant, body, call, result, target, text, tool, user

IMAGE = {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}


def test_text_and_messages() -> None:
    assert (
        estimate({"model": "m", "system": "S", "messages": [{"role": "user", "content": "é12345678"}]}, target()) == 7
    )


def test_tools_calls_and_pdf() -> None:
    plain = estimate(body(), target())
    assert isinstance(plain, int)
    with_tool = estimate(body(tools=[tool(description="d" * 400)]), target())
    assert isinstance(with_tool, int)
    assert 100 < with_tool - plain < 150
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "A" * 133336}}
    counted = estimate(body(messages=[user(pdf)]), target())
    assert isinstance(counted, int)
    assert 1500 <= counted <= 1510


def counted_for_responses(*messages: Any) -> int:
    found = estimate(body(messages=list(messages), system="s" * 40), target("openai-responses"), "responses")
    assert isinstance(found, int)
    return found


def test_a_request_for_a_responses_upstream() -> None:
    assert counted_for_responses(user(text("q" * 40))) == 10 + 10 + 4
    sealed = seal("openai_responses", {"id": "r", "encrypted_content": "E" * 400})
    thought = {"type": "thinking", "thinking": "t" * 40, "signature": sealed}
    history = (
        user(text("q" * 40)),
        assistant(thought, call(name="n" * 38)),
        user(result(content=[text("r" * 40), IMAGE])),
    )
    assert counted_for_responses(*history) == 50 + IMAGE_MAX + 3 * 4


def test_a_document_by_url_counts_where_it_can_be_sent() -> None:
    pdf = user({"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}})
    assert isinstance(estimate(body(messages=[pdf]), target("openai-responses")), Rejection)
    assert counted_for_responses(pdf) == 10 + 1500 + 4


def test_factor() -> None:
    assert estimate(body(), target(estimate_factor=2.0)) == 10


def test_what_matters_for_generating_only_is_not_checked() -> None:
    messages = [*body()["messages"], {"role": "assistant", "content": "{"}]
    assert isinstance(estimate({"model": "m", "messages": messages, "stop_sequences": 7}, target()), int)


@pytest.mark.parametrize(
    "request_body",
    [
        {"messages": []},
        {"model": "m"},
        body(messages=[{"role": "assistant", "content": [call()]}]),
        body(thread={"type": "create"}),
    ],
)
def test_refusals(request_body: dict[str, object]) -> None:
    assert isinstance(estimate(request_body, target()), Rejection)
