"""Images and documents. Nothing is fetched here, and another vendor's file ids mean nothing upstream."""

from typing import NamedTuple

from extproc.translate import want
from extproc.translate.capability import rejected
from extproc.translate.for_messages.draft import Draft, Part
from extproc.translate.want import Json, Refused, unsupported

_IMAGE = frozenset(("type", "source", "cache_control", "transformations"))
_DOCUMENT = frozenset(("type", "source", "title", "context", "citations", "cache_control"))
_SEARCH_RESULT = frozenset(("type", "source", "title", "content", "citations", "cache_control"))


class Document(NamedTuple):
    """A document as text, and what cannot be text."""

    text: str
    media: list[Part]


def image(draft: Draft, block: Json, path: str) -> Part:
    source = want.mapping(block, "source", path)
    draft.warnings.unknown(block, _IMAGE, path)
    transformations = want.optional_mapping(block, "transformations", path)
    if transformations.get("oversized_image") == "error":
        draft.warnings.add("dropped", f"{path}.transformations", "large images are always scaled down")
    return draft.mark_cached({"type": "image_url", "image_url": {"url": _image_url(draft, source, path)}}, block)


def _image_url(draft: Draft, source: Json, path: str) -> str:
    where = f"{path}.source"
    kind = want.text(source, "type", where)
    if kind == "base64":
        return f"data:{want.text(source, 'media_type', where)};base64,{want.text(source, 'data', where)}"
    if kind == "url":
        if not draft.profile.image_url:
            raise _no_image(where, "the upstream takes no image by URL; send it as base64")
        return want.text(source, "url", where)
    if kind == "file":
        raise _no_image(where, "an image by file id cannot be sent to another provider; send it as base64")
    want.one_of(kind, ("base64", "url", "file"), f"{where}.type")
    raise AssertionError(kind)


def _no_image(path: str, problem: str) -> Refused:
    return unsupported(path, rejected(problem, "image_block"))


def _no_document(path: str, problem: str) -> Refused:
    return unsupported(path, rejected(problem, "document_block"))


def document(draft: Draft, block: Json, path: str, *, attached: bool) -> Document:
    """`attached`: the user has just attached it, so it may not be left out."""
    source = want.mapping(block, "source", path)
    where = f"{path}.source"
    draft.warnings.unknown(block, _DOCUMENT, path)
    _warn_citations(draft, block, path)
    title = want.optional_text(block, "title", path)
    context = want.optional_text(block, "context", path)
    match want.text(source, "type", where):
        case "text":
            return Document(_framed(title, context, want.text(source, "data", where)), [])
        case "content":
            text, images = _content(draft, source, where)
            return Document(_framed(title, context, text), images)
        case "base64" | "url" if not attached and not draft.profile.files:
            return Document("\n".join(filter(None, (context, _note(draft, title, path)))), [])
        case "base64":
            return Document(context or "", [draft.mark_cached(_pdf(draft, source, title, where), block)])
        case "url":
            return Document(context or "", [draft.mark_cached(_by_url(draft, source, where), block)])
        case "file":
            raise _no_document(where, "a document by file id cannot be sent to another provider")
        case kind:
            want.one_of(kind, ("base64", "text", "content", "url", "file"), f"{where}.type")
            raise AssertionError(kind)


def _note(draft: Draft, title: str | None, path: str) -> str:
    """The history is sent again with each turn: refusing it would end the session."""
    draft.warnings.add("approx", path, "the upstream takes no PDF documents or other files; send the text")
    return f"[PDF {title or 'document'}: this model cannot read PDF files]"


def _framed(title: str | None, context: str | None, text: str) -> str:
    lines = [f"[Document: {title or 'untitled'}]", *([context] if context else []), text, "[End of document]"]
    return "\n".join(lines)


def _content(draft: Draft, source: Json, path: str) -> tuple[str, list[Part]]:
    content = source.get("content")
    if isinstance(content, str):
        return content, []
    texts: list[str] = []
    images: list[Part] = []
    for n, found in enumerate(want.sequence(source, "content", path)):
        where = f"{path}.content.{n}"
        block = want.item(found, where)
        if want.one_of(want.text(block, "type", where), ("text", "image"), f"{where}.type") == "text":
            texts.append(want.text(block, "text", where))
        else:
            images.append(image(draft, block, where))
    return "\n\n".join(texts), images


def _by_url(draft: Draft, source: Json, path: str) -> Part:
    if not draft.file_urls or not draft.profile.files:
        raise _no_document(path, "a document by URL cannot be sent on; send it as base64 or text")
    return {"type": "file", "file": {"file_url": want.text(source, "url", path)}}


def _pdf(draft: Draft, source: Json, title: str | None, path: str) -> Part:
    media_type = want.one_of(want.text(source, "media_type", path), ("application/pdf",), f"{path}.media_type")
    data = want.text(source, "data", path)
    if not draft.profile.files:
        raise _no_document(path, "the upstream takes no PDF documents or other files; send the text")
    name = title or "document"
    filename = name if name.lower().endswith(".pdf") else f"{name}.pdf"
    return {"type": "file", "file": {"filename": filename, "file_data": f"data:{media_type};base64,{data}"}}


def search_result(draft: Draft, block: Json, path: str) -> str:
    draft.warnings.unknown(block, _SEARCH_RESULT, path)
    _warn_citations(draft, block, path)
    texts = []
    for n, found in enumerate(want.sequence(block, "content", path)):
        where = f"{path}.content.{n}"
        texts.append(want.text(want.item(found, where), "text", where))
    head = [f"[Search result: {want.text(block, 'title', path)}]", f"Source: {want.text(block, 'source', path)}"]
    return "\n".join([*head, *texts, "[End of search result]"])


def _warn_citations(draft: Draft, block: Json, path: str) -> None:
    citations = want.optional_mapping(block, "citations", path)
    if want.flag(citations, "enabled", f"{path}.citations"):
        draft.warnings.add("dropped", f"{path}.citations", "the upstream model does not cite")
