"""Pictures and files."""

import base64
from typing import Any

import pytest

from tests.translate.chat_asking import body, refusal, sent, target, user


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def block(part: dict[str, Any], **overrides: Any) -> Any:
    return sent(body(user([part])), target(**overrides))["messages"][0]["content"][0]


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def file(**members: str) -> dict[str, Any]:
    return {"type": "file", "file": members}


def test_images() -> None:
    source = block(image("data:image/jpg;base64,aGk\n= "))["source"]
    assert source == {"type": "base64", "media_type": "image/jpeg", "data": "aGk="}
    assert block(image("HTTPS://e.com/a"))["source"] == {"type": "url", "url": "HTTPS://e.com/a"}


@pytest.mark.parametrize("url", ["data:image/png,abc", "ftp://e.com/a", "data:;base64,", "x"])
def test_images_refused(url: str) -> None:
    assert refusal(body(user([image(url)]))).path == "messages.0.content.0.image_url.url"


def test_no_urls_for_some_clouds() -> None:
    assert "base64" in refusal(body(user([image("https://e.com/a")])), target(url_sources=False)).message


@pytest.mark.parametrize("data", ["data:application/pdf;base64,JVBERi0=", "JVBERi0=", " JVBE\nRi0=".replace("\n", "")])
def test_pdf(data: str) -> None:
    found = block(file(filename="a.pdf", file_data=data))
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    assert found == {"type": "document", "source": source, "title": "a.pdf"}


@pytest.mark.parametrize(
    "kind", ["text/plain", "text/markdown;charset=utf-8", "application/json", "application/ld+json"]
)
def test_text_files(kind: str) -> None:
    found = block(file(file_data=f"data:{kind};base64,{b64('é')}"))
    assert found == {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}}


@pytest.mark.parametrize(
    "data", ["data:text/plain;base64,/w==", "data:text/plain;base64,*", "data:application/zip;base64,aGk="]
)
def test_files_refused(data: str) -> None:
    found = refusal(body(user([file(file_data=data)])))
    assert found.path == "messages.0.content.0.file.file_data" and found.code == "unsupported_value"
