"""Images and PDFs in the messages of any dialect, and in the words of careless or sly clients."""

from typing import Any

import pytest

from extproc.policy.authorization.media import Media
from extproc.wire.media_tokens import IMAGE_MAX

Json = dict[str, Any]
TURN = {"role": "user", "content": "q"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "x"}}
IMAGE_URL = {"type": "image_url", "image_url": {"url": "https://x"}}
BASE64 = "A" * 133_336
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": BASE64}}
PDF_URL = f"data:application/pdf;base64,{BASE64}"


def said(*content: Any) -> Json:
    return {"role": "user", "content": list(content)}


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (TURN, False),
        (said({"type": "text", "text": "image"}), False),
        (said({"type": "text", "text": "a"}, IMAGE), True),
        (said(IMAGE_URL), True),
        (said({"image_url": {"url": "https://x"}}), True),
        (said({"type": "input_image", "image_url": "https://x"}), True),
        (said({"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]}), True),
        (said({"type": "document", "source": {"media_type": "application/pdf", "content": [IMAGE]}}), True),
        (said({"type": "document", "source": {"type": "image", "media_type": "application/pdf"}}), True),
        (said({"type": "document", "source": {"type": "content", "content": [IMAGE]}}), True),
        (said({"type": "document", "source": {"type": "base64", "media_type": "application/pdf"}}), False),
        (said({"type": "tool_use", "name": "draw", "input": {"type": "image"}}), False),
        ({"type": "function_call_output", "output": [{"type": "input_image"}]}, True),
        ({"role": "tool", "content": [IMAGE_URL]}, True),
        ({"role": "user", "content": IMAGE}, True),
        (said(None, 7, ["x", [IMAGE]]), True),
        (said({"type": "file", "file": {"file_data": "data:image/png;base64,eA=="}}), True),
        (said({"type": "file", "file": {"file_data": "data:application/pdf;base64,eA==", "filename": "a.pdf"}}), False),
        (said({"type": "file", "file": {"file_id": "f"}}), True),
        (said({"type": "file", "file": {"file_data": "eA==", "filename": "a.pdf"}}), True),
        (said({"type": "input_file", "file_data": "data:IMAGE/png;base64,eA=="}), True),
        (said({"type": "input_file", "file_data": "data:text/plain,x"}), False),
        (said({"type": "input_file", "file_url": "https://x/a.pdf"}), True),
        (said({"inline_data": {"mime_type": "image/png", "data": "eA=="}}), True),
        (said({"inlineData": {"mimeType": "application/pdf", "data": "eA=="}}), False),
        (said({"type": "video_url", "video_url": {"url": "https://x"}}), True),
        (said({"type": "input_video", "video": "x"}), True),
        (said({"type": "document", "source": {"type": "base64", "media_type": "image/png", "data": "x"}}), True),
        (said({"type": "new", "url": "data:image/png;base64,eA=="}), True),
        (said({"type": "text", "text": "data:image/png;base64,eA=="}), False),
        (said({"type": "url", "url": "data:image/png;base64,eA=="}), True),
        (said({"type": "base64", "media_type": "image/png", "data": "eA=="}), True),
        (said({"type": ["text"], "text": "a"}), False),
        (said({"type": "tool_result", "content": {"type": "file", "file": {"file_id": "f"}}}), True),
    ],
)
def test_images(turn: Json, expected: bool) -> None:
    assert Media([[TURN, turn]]).has_images is expected


def document(**source: Any) -> Json:
    return {"type": "document", "source": source, "title": "a"}


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (TURN, False),
        (said(IMAGE), False),
        (said({"type": "text", "text": PDF_URL}), False),
        (said(PDF), True),
        (said(document(type="url", url="https://x/a")), True),
        (said(document(type="file", file_id="f")), True),
        (said(document(type="text", media_type="text/plain", data="d")), False),
        (said(document(type="text", data="d")), False),
        (said(document(type="content", content=[{"type": "text", "text": "t"}])), False),
        (said(document(type="content", content=[PDF])), True),
        (said({"type": "document"}), True),
        (said({"type": "image", "source": {"type": "file", "file_id": "f"}}), False),
        (said({"type": "image", "source": {"type": "file", "media_type": "application/pdf"}}), True),
        (said({"type": "tool_result", "tool_use_id": "t", "content": [PDF]}), True),
        (said({"type": "file", "file": {"file_data": PDF_URL, "filename": "a.pdf"}}), True),
        (said({"type": "file", "file": {"file_data": BASE64, "filename": "a.pdf"}}), True),
        (said({"type": "file", "file": {"file_id": "f"}}), True),
        (said({"type": "file", "file": {"file_data": "data:text/plain;base64,eA=="}}), False),
        (said({"type": "input_file", "file_data": PDF_URL.replace("application", "APPLICATION")}), True),
        (said({"type": "input_file", "file_url": "https://x/a.pdf"}), True),
        (said({"type": "Input_File", "File_Data": "data:application/octet-stream;base64,eA=="}), True),
        (said({"type": "input_file", "file_data": "data:image/png;base64,eA=="}), False),
        ({"type": "function_call_output", "output": [{"type": "input_file", "file_id": "f"}]}, True),
        (said({"inlineData": {"mimeType": "application/pdf", "data": "eA=="}}), True),
        (said({"type": "new", "url": PDF_URL}), True),
        (said({"type": "tool_use", "name": "read", "input": {"type": "document"}}), False),
    ],
)
def test_pdfs(turn: Json, expected: bool) -> None:
    assert Media([[TURN, turn]]).has_pdf is expected


@pytest.mark.parametrize(
    ("part", "size", "tokens"),
    [
        ({"type": "text", "text": "a" * 1000}, 0, 0),
        (PDF, len(BASE64), 1501),
        ({**PDF, "context": "c" * 200_000}, len(BASE64), 1501),
        ({"type": "input_file", "file_data": PDF_URL}, len(PDF_URL), 1501),
        ({"type": "file", "file": {"file_data": PDF_URL}}, len(PDF_URL), 1501),
        (document(type="url", url="https://x/" + "a" * 300), 310, 1500),
        (document(type="file", file_id="f" * 20), 20, 1500),
        (IMAGE_URL, 9, IMAGE_MAX),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "x" * 99}}, 99, IMAGE_MAX),
        (document(type="text", media_type="text/plain", data="d" * 1000), 0, 0),
    ],
)
def test_what_media_take_up(part: Json, size: int, tokens: int) -> None:
    one, two = Media([[said(part)]]), Media([[said(part), said({"type": "tool_result", "content": [part]})]])
    assert (one.size, one.tokens) == (size, tokens)
    assert (two.size, two.tokens) == (2 * size, 2 * tokens)


def test_depth_is_no_danger() -> None:
    deep: Any = [IMAGE, PDF]
    for _ in range(5000):
        deep = {"content": [deep]}
    found = Media([deep])
    assert (found.has_images, found.has_pdf) == (True, True)


@pytest.mark.parametrize("odd", [None, 7, "x", [], {}, [None], [{"type": 7}], {"type": ["document"]}])
def test_what_is_no_message_holds_nothing(odd: Any) -> None:
    found = Media([odd])
    assert (found.has_images, found.has_pdf, found.size, found.tokens) == (False, False, 0, 0)
