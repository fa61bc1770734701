from typing import Any

import pytest

from tests.translate.asking import ask, body, refusal, sent, target, text, user

PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def content(*blocks: Any, **profile: Any) -> Any:
    return sent(body(messages=[user(*blocks)]), target(**profile))["messages"][0]["content"]


def document(source: Any, **more: Any) -> dict[str, Any]:
    return {"type": "document", "source": source, **more}


PDF = document({"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}, title="Report")


def test_image_by_url() -> None:
    url = "https://e.com/a.png"
    assert content({"type": "image", "source": {"type": "url", "url": url}}) == [
        {"type": "image_url", "image_url": {"url": url}}
    ]


def test_an_oversized_image_cannot_be_refused() -> None:
    for wish, warnings in (("error", ("dropped:messages.0.content.0.transformations",)), ("downsize", ())):
        asked = ask(body(messages=[user({**PNG, "transformations": {"oversized_image": wish}})]))
        assert asked.warnings == warnings


def test_document_as_text() -> None:
    plain = document({"type": "text", "media_type": "text/plain", "data": "d"}, title="T", context="C")
    assert content(plain, text("q")) == "[Document: T]\nC\nd\n[End of document]\n\nq"
    assert content(document({"type": "content", "content": "d"})) == "[Document: untitled]\nd\n[End of document]"


def test_document_of_blocks() -> None:
    blocks = document({"type": "content", "content": [text("a"), PNG, text("b")]})
    assert content(blocks) == [text("[Document: untitled]\na\n\nb\n[End of document]"), PART]


def test_pdf() -> None:
    file = {"filename": "Report.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}
    assert content(PDF) == [{"type": "file", "file": file}]
    assert content({**PDF, "title": "a.PDF", "context": "c"})[0] == text("c")
    assert content({**PDF, "title": None})[0]["file"]["filename"] == "document.pdf"
    assert content({**PDF, "title": "a.pdf"})[0]["file"]["filename"] == "a.pdf"
    assert "PDF" in refusal(body(messages=[user(PDF)]), target("vllm"))


def test_citations_are_not_to_be_had() -> None:
    cited = document({"type": "text", "data": "d"}, citations={"enabled": True})
    found = {"type": "search_result", "source": "s", "title": "t", "content": [], "citations": {"enabled": True}}
    asked = ask(body(messages=[user(cited, found)]))
    assert asked.warnings == ("dropped:messages.0.content.0.citations", "dropped:messages.0.content.1.citations")


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ({"type": "image"}, "source: Field required"),
        ({"type": "image", "source": {"type": "x"}}, "source.type: Input"),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "source: an image by file id"),
        (document({"type": "file", "file_id": "f"}), "source: a document by file id"),
        (document({"type": "url", "url": "u"}), "source: a document by URL"),
        (document({"type": "base64", "media_type": "text/html", "data": ""}), "source.media_type: Input"),
        (document({"type": "x"}), "source.type: Input"),
        (document({"type": "content", "content": [{"type": "document"}]}), "source.content.0.type: Input"),
        ({"type": "search_result", "source": "s", "title": "t", "content": [{}]}, "content.0.text: Field required"),
    ],
)
def test_refused(block: dict[str, Any], problem: str) -> None:
    assert refusal(body(messages=[user(block)])).startswith(f"messages.0.content.0.{problem}")
