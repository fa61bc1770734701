"""Pictures and files. Nothing is fetched here, and another vendor's file ids mean nothing upstream."""

import base64
import binascii
import re
from typing import NamedTuple

from extproc.translate import want
from extproc.translate.on_messages.draft import Draft
from extproc.translate.pair import Json
from extproc.translate.want import unsupported

_IMAGES = {"image/jpg": "image/jpeg", **{kind: kind for kind in ("image/jpeg", "image/png", "image/gif", "image/webp")}}
_PDF = "application/pdf"
# "%PDF-" in base64.
_RAW_PDF = "JVBERi"
_TEXT = re.compile(r"text/.+|application/(?:[\w.-]+\+)?(?:json|csv|markdown|x-markdown)")


class _Data(NamedTuple):
    media_type: str
    base64: str


def image(draft: Draft, url: str, where: str) -> Json:
    """`where`: the path of the URL."""
    url = url.strip()
    if url[:5].lower() != "data:":
        return {"type": "image", "source": {"type": "url", "url": _web_address(draft, url, where, "image")}}
    data = _data(url, where)
    media_type = _IMAGES.get(data.media_type)
    if media_type is None:
        raise unsupported(where, f"media type {data.media_type[:64]!r} is not one of JPEG, PNG, GIF, WebP")
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data.base64}}


def _web_address(draft: Draft, url: str, path: str, what: str) -> str:
    if not url.lower().startswith(("http://", "https://")):
        raise unsupported(path, "Input should be a data: URL or a web address")
    if not draft.profile.url_sources:
        raise unsupported(path, f"the upstream takes no {what} by URL; send it as base64")
    return url


def file(found: Json, path: str) -> Json:
    """`path`: of the object that holds `file_data` or `file_id`."""
    without_id(found, path)
    return _titled(_document(want.text(found, "file_data", path), f"{path}.file_data"), found, path)


def linked(draft: Draft, found: Json, path: str) -> Json:
    """A PDF by `file_url`."""
    url = _web_address(draft, want.text(found, "file_url", path).strip(), f"{path}.file_url", "file")
    return _titled({"type": "url", "url": url}, found, path)


def _titled(source: Json, found: Json, path: str) -> Json:
    name = want.optional_text(found, "filename", path)
    return {"type": "document", "source": source, **({"title": name} if name else {})}


def without_id(found: Json, path: str) -> None:
    if found.get("file_id") is not None:
        raise unsupported(f"{path}.file_id", "a file by file_id cannot be sent to another provider; send its data")


def _document(file_data: str, path: str) -> Json:
    raw = file_data.lstrip()
    data = _Data(_PDF, _unspaced(raw)) if raw.startswith(_RAW_PDF) else _data(raw, path)
    if data.media_type == _PDF:
        return {"type": "base64", "media_type": _PDF, "data": data.base64}
    if not _TEXT.fullmatch(data.media_type):
        raise unsupported(path, f"media type {data.media_type[:64]!r} is neither PDF nor text")
    return {"type": "text", "media_type": "text/plain", "data": _decoded(data.base64, path)}


def _decoded(data: str, path: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode("utf-8-sig")
    except (binascii.Error, ValueError):
        raise unsupported(path, "the file is not UTF-8 text in base64") from None


def _data(url: str, path: str) -> _Data:
    head, comma, data = url.partition(",")
    scheme, _, rest = head.partition(":")
    media_type, *parameters = rest.split(";")
    if scheme.lower() != "data" or not comma or "base64" not in (word.strip().lower() for word in parameters):
        raise unsupported(path, "Input should be a data: URL in base64")
    return _Data(media_type.strip().lower(), _unspaced(data))


def _unspaced(data: str) -> str:
    return "".join(data.split())
