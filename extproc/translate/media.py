"""Images and files of OpenAI's dialects. Nothing is fetched here (docs/mapping.md 4.3)."""

import base64
import binascii
import re

from extproc.translate import checked
from extproc.translate.checked import Json, unsupported
from extproc.translate.conversation import Base64Data, CacheHint, Document, FileId, Image, WebAddress

PDF = "application/pdf"
_RAW_PDF = "JVBERi"
"""`%PDF-` in base64."""
_TEXT = re.compile(r"text/.+|application/(?:[\w.-]+\+)?(?:json|csv|markdown|x-markdown)")


def read_image(url: str, path: str, detail: str | None, cache: CacheHint | None) -> Image:
    """`path`: of the URL. Raises Refused for what is neither data in base64 nor a web address."""
    url = url.strip()
    source = _data_url(url, path) if url[:5].lower() == "data:" else _web_address(url, path)
    return Image(source, path, detail, cache)


def read_file(found: Json, path: str, cache: CacheHint | None) -> Document:
    """An object with `file_data`, `file_url` or `file_id`, at `path`. Raises Refused."""
    title = checked.optional_text(found, "filename", path) or ""
    if found.get("file_id") is not None:
        return Document(FileId(checked.text(found, "file_id", path)), f"{path}.file_id", title, cache=cache)
    if found.get("file_data") is None and found.get("file_url") is not None:
        url = checked.text(found, "file_url", path).strip()
        return Document(_web_address(url, f"{path}.file_url"), f"{path}.file_url", title, cache=cache)
    where = f"{path}.file_data"
    raw = checked.text(found, "file_data", path).lstrip()
    data = Base64Data(PDF, _unspaced(raw)) if raw.startswith(_RAW_PDF) else _data_url(raw, where)
    return Document(data, where, title, cache=cache)


def is_text(media_type: str) -> bool:
    return _TEXT.fullmatch(media_type) is not None


def plain_text(data: Base64Data, path: str) -> str:
    """The text of a file. Raises Refused."""
    try:
        return base64.b64decode(data.data, validate=True).decode("utf-8-sig")
    except (binascii.Error, ValueError):
        raise unsupported(path, "the file is not UTF-8 text in base64") from None


def framed_document(document: Document, text: str) -> str:
    """A text document in words, for a place that only takes text."""
    context = f"{document.context}\n" if document.context else ""
    return f"[Document: {document.title or 'untitled'}]\n{context}{text}\n[End of document]"


def data_url(data: Base64Data) -> str:
    return f"data:{data.media_type};base64,{data.data}"


def _web_address(url: str, path: str) -> WebAddress:
    if not url.lower().startswith(("http://", "https://")):
        raise unsupported(path, "Input should be a data: URL or a web address")
    return WebAddress(url)


def _data_url(url: str, path: str) -> Base64Data:
    head, comma, data = url.partition(",")
    scheme, _, rest = head.partition(":")
    media_type, *parameters = rest.split(";")
    if scheme.lower() != "data" or not comma or "base64" not in (word.strip().lower() for word in parameters):
        raise unsupported(path, "Input should be a data: URL in base64")
    return Base64Data(media_type.strip().lower(), _unspaced(data))


def _unspaced(data: str) -> str:
    return "".join(data.split())
