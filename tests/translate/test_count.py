import base64
import struct
from typing import Any

import pytest

from extproc.errors import Rejection
from extproc.translate.count import IMAGE_MAX, estimate, image_tokens
from extproc.translate.signature import seal
from tests.translate.asking import assistant, body, call, result, target, text, tool, user


def data_url(raw: bytes) -> str:
    return "data:image/x;base64," + base64.b64encode(raw).decode()


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 750, 10)
GIF = b"GIF89a" + struct.pack("<HH", 75, 100)
JPEG = b"\xff\xd8\xff\xe0\0\4ab\xff\xc0\0\x11\x08" + struct.pack(">HH", 75, 100)
VP8X = b"RIFF\0\0\0\0WEBPVP8X" + b"\0" * 8 + (74).to_bytes(3, "little") + (99).to_bytes(3, "little")
VP8L = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + (74 | 99 << 14).to_bytes(4, "little") + b"\0" * 5
VP8 = b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 10 + struct.pack("<HH", 75, 100)


IMAGE = {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}


@pytest.mark.parametrize("raw", [PNG, GIF, JPEG, VP8X, VP8L, VP8])
def test_images_by_size(raw: bytes) -> None:
    assert image_tokens(data_url(raw)) == 10


@pytest.mark.parametrize("raw", [b"", b"?", PNG[:20], JPEG[:8], b"\xff\xd8\xff\xe0\0\0aaaaaaa", VP8X[:20], GIF[:8]])
def test_images_of_unknown_size(raw: bytes) -> None:
    assert image_tokens(data_url(raw)) == IMAGE_MAX


def test_images_by_url_and_large_ones() -> None:
    assert image_tokens("https://e.com/a.png") == IMAGE_MAX
    assert image_tokens("data:image/png;base64,%%%") == IMAGE_MAX
    assert image_tokens(data_url(PNG[:16] + struct.pack(">II", 4000, 4000))) == IMAGE_MAX


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
