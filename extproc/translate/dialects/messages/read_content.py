"""The content of a Messages request: text, images, documents and what tools gave (docs/mapping.md 1.5).

Blocks of tools that ran at Anthropic become text: the tools behind them do not exist at another provider.
Nothing is fetched here, and files that are stored at Anthropic mean nothing to another provider.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from extproc.translate import checked
from extproc.translate.checked import Json, Refused, Warnings, refused, unsupported
from extproc.translate.conversation import (
    ANTHROPIC,
    Base64Data,
    CacheHint,
    Document,
    Image,
    PlainText,
    Reasoning,
    ResultPart,
    Text,
    ToolResult,
    WebAddress,
)
from extproc.translate.openai_content import framed_document
from extproc.translate.provider_error import rejected
from extproc.translate.signature import is_ours, unseal
from extproc.wire import messages_request

_TEXT = frozenset(("type", "text", "cache_control", "citations"))
_IMAGE = frozenset(("type", "source", "cache_control", "transformations"))
_DOCUMENT = frozenset(("type", "source", "title", "context", "citations", "cache_control"))
_SEARCH_RESULT = frozenset(("type", "source", "title", "content", "citations", "cache_control"))
_RESULT = checked.members(messages_request.ToolResult)
_WITHOUT_CONTENT = frozenset(("mcp_tool_listing", "fallback", "compaction"))
# What a browser reports -> how it begins, and the members that follow.
_BROWSER_CHANGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "tab_opened": ("Tab opened:", ("tab_id",)),
    "download_started": ("Download started:", ("download_id", "url")),
    "download_completed": ("Download completed:", ("download_id", "url", "path", "size_bytes")),
    "download_failed": ("Download failed:", ("download_id", "url", "error")),
}


def cache_hint(block: Json) -> CacheHint | None:
    hint = block.get("cache_control")
    return CacheHint(long=hint.get("ttl") == "1h") if isinstance(hint, dict) else None


def text_or_none(text: str, path: str, block: Json) -> Text | None:
    """Empty text is no part."""
    return Text(text, path, cache_hint(block)) if text else None


class ContentReader:
    """Reads blocks. Raises Refused for blocks that are malformed or cannot be sent on."""

    def __init__(self, warnings: Warnings) -> None:
        self._warnings = warnings

    def text(self, block: Json, path: str) -> Text | None:
        text = checked.text(block, "text", path)
        self._warnings.unknown(block, _TEXT, path)
        return Text(text, path, cache_hint(block)) if text else None

    def image(self, block: Json, path: str) -> Image:
        source, where = checked.mapping(block, "source", path), f"{path}.source"
        self._warnings.unknown(block, _IMAGE, path)
        if checked.optional_mapping(block, "transformations", path).get("oversized_image") == "error":
            self._warnings.add("dropped", f"{path}.transformations", "large images are always scaled down")
        kind = checked.one_of(checked.text(source, "type", where), ("base64", "url", "file"), f"{where}.type")
        # A file of Anthropic's Files API (https://platform.claude.com/docs/en/build-with-claude/files), which nobody
        # else can read.
        if kind == "file":
            problem = "an image by file id cannot be sent to another provider; send it as base64"
            raise unsupported(where, rejected(problem, "image_block"))
        if kind == "url":
            return Image(WebAddress(checked.text(source, "url", where)), where, cache=cache_hint(block))
        data = Base64Data(checked.text(source, "media_type", where), checked.text(source, "data", where))
        return Image(data, where, cache=cache_hint(block))

    def document(self, block: Json, path: str) -> list[Document | Image]:
        """A document, and images that stand in it."""
        source, where = checked.mapping(block, "source", path), f"{path}.source"
        self._warnings.unknown(block, _DOCUMENT, path)
        self._check_citations(block, path)
        found: Base64Data | PlainText | WebAddress
        images: list[Image] = []
        match checked.text(source, "type", where):
            case "text":
                found = PlainText(checked.text(source, "data", where))
            # Blocks of the client's own choosing, so that citations name one of them:
            # https://platform.claude.com/docs/en/build-with-claude/citations.
            case "content":
                found, images = self._mixed_content(source, where)
            case "base64":
                kind = checked.one_of(
                    checked.text(source, "media_type", where), ("application/pdf",), f"{where}.media_type"
                )
                found = Base64Data(kind, checked.text(source, "data", where))
            case "url":
                found = WebAddress(checked.text(source, "url", where))
            case "file":
                raise _no_document(where, "a document by file id cannot be sent to another provider")
            case kind:
                raise refused(f"{where}.type", f"Input should be 'base64', 'text', 'content', 'url' or 'file': {kind}")
        title = checked.optional_text(block, "title", path) or ""
        context = checked.optional_text(block, "context", path) or ""
        return [Document(found, where, title, context, cache_hint(block), path), *images]

    def _mixed_content(self, source: Json, path: str) -> tuple[PlainText, list[Image]]:
        content = source.get("content")
        if isinstance(content, str):
            return PlainText(content), []
        texts: list[str] = []
        images: list[Image] = []
        for n, found in enumerate(checked.sequence(source, "content", path)):
            where = f"{path}.content.{n}"
            block = checked.item(found, where)
            if checked.one_of(checked.text(block, "type", where), ("text", "image"), f"{where}.type") == "text":
                texts.append(checked.text(block, "text", where))
            else:
                images.append(self.image(block, where))
        return PlainText("\n\n".join(texts)), images

    # https://platform.claude.com/docs/en/build-with-claude/search-results
    def search_result(self, block: Json, path: str) -> Text:
        self._warnings.unknown(block, _SEARCH_RESULT, path)
        self._check_citations(block, path)
        texts = []
        for n, found in enumerate(checked.sequence(block, "content", path)):
            where = f"{path}.content.{n}"
            texts.append(checked.text(checked.item(found, where), "text", where))
        title, source = checked.text(block, "title", path), checked.text(block, "source", path)
        lines = [f"[Search result: {title}]", f"Source: {source}", *texts, "[End of search result]"]
        return Text("\n".join(lines), path, cache_hint(block))

    def _check_citations(self, block: Json, path: str) -> None:
        citations = checked.optional_mapping(block, "citations", path)
        if checked.flag(citations, "enabled", f"{path}.citations"):
            self._warnings.add("dropped", f"{path}.citations", "the upstream model does not cite")

    def shared(self, block: Json, kind: str, path: str) -> list[Text | Document | Image]:
        """A block that messages of the user and of the assistant may hold, other than text."""
        if kind == "document":
            return [*self.document(block, path)]
        if kind == "search_result":
            return [self.search_result(block, path)]
        if kind in SERVER_BLOCKS:
            text = server_block_text(block, kind, path)
            self._warnings.add("approx", path, "the upstream has no such tool")
            return _listed(text_or_none(text, path, block))
        if kind == "container_upload":
            raise unsupported(path, "files in a container of Anthropic's cannot be reached from here")
        return [] if kind in _WITHOUT_CONTENT else _listed(self._unknown(block, path))

    def _unknown(self, block: Json, path: str) -> Text | None:
        """The text of a block of an unknown type, if it has one."""
        text = block.get("text")
        known = text if isinstance(text, str) else ""
        self._warnings.add("approx" if known else "dropped", path, f"block type {block.get('type')!r} is not supported")
        return text_or_none(known, path, block)

    def result(self, block: Json, path: str) -> ToolResult:
        found = checked.typed(block, messages_request.ToolResult, path)
        self._warnings.unknown(block, _RESULT, path)
        parts: list[ResultPart] = []
        if isinstance(found.content, str):
            parts = [Text(found.content, path)] if found.content else []
        else:
            for n, part in enumerate(found.content or ()):
                where = f"{path}.content.{n}"
                parts += self._result_part(part, where)
        return ToolResult(found.tool_use_id, tuple(parts), path, found.is_error or False, cache=cache_hint(block))

    def _result_part(self, block: Json, path: str) -> list[Text | Document | Image]:
        match checked.text(block, "type", path):
            case "text":
                return _listed(text_or_none(checked.text(block, "text", path), path, {}))
            case "image":
                return [self.image(block, path)]
            case "document":
                return [*self.document(block, path)]
            case "search_result":
                return [self.search_result(block, path)]
            # A search for deferred tools answers with their names; here they are all declared from the start.
            case "tool_reference":
                return [Text(f"Tool available: {checked.text(block, 'tool_name', path)}", path)]
            case "browser_state":
                return [Text(_browser_state(block, path), path)]
            case _:
                return _listed(self._unknown(block, path))


def only_text(part: Text | Document | Image, path: str) -> Text:
    """What a turn of the assistant can hold of such a block. Raises Refused."""
    if isinstance(part, Document) and isinstance(part.source, PlainText):
        return Text(framed_document(part, part.source.text), path, part.cache)
    # Assistant messages of OpenAI's dialects hold text and refusals only.
    if not isinstance(part, Text):
        problem = "an assistant turn can only hold documents that are text"
        raise unsupported(path, rejected(problem, "document_block"))
    return part


def _listed(part: Text | None) -> list[Text | Document | Image]:
    return [] if part is None else [part]


def _no_document(path: str, problem: str) -> Refused:
    return unsupported(path, rejected(problem, "document_block"))


def _browser_state(block: Json, path: str) -> str:
    # Anthropic renders the members as text, too; its model never sees them.
    lines = ["Tabs:"]
    for n, found in enumerate(checked.sequence(block, "tabs", path)):
        where = f"{path}.tabs.{n}"
        tab = checked.item(found, where)
        active = " (active)" if checked.flag(tab, "active", where) else ""
        lines.append(f"* {' '.join(checked.text(tab, key, where) for key in ('tab_id', 'title', 'url'))}{active}")
    for n, found in enumerate(checked.optional_sequence(block, "state_changes", path)):
        lines.append(_browser_change(checked.item(found, f"{path}.state_changes.{n}")))
    return "\n".join(lines)


def _browser_change(change: Json) -> str:
    kind: Any = change.get("type")
    title, members = _BROWSER_CHANGES.get(kind, (kind, ())) if isinstance(kind, str) else ("Changed", ())
    return " ".join([title, *(str(change[key]) for key in members if isinstance(change.get(key), str | int))])


def _compact(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _objects(value: Any) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _inner(block: Json) -> Json:
    content = block.get("content")
    return content if isinstance(content, dict) else {}


def _failed(block: Json, inner: Json) -> str | None:
    code = inner.get("error_code")
    tool = block["type"].removesuffix("_tool_result")
    return f"[{tool} error: {code}]" if isinstance(code, str) else None


def _call(block: Json, path: str) -> str:
    return f"[{checked.text(block, 'name', path)} called with {_compact(checked.mapping(block, 'input', path))}]"


def _mcp_call(block: Json, path: str) -> str:
    name = f"{checked.text(block, 'server_name', path)}.{checked.text(block, 'name', path)}"
    return f"[{name} called with {_compact(checked.mapping(block, 'input', path))}]"


def _mcp_result(block: Json, path: str) -> str:
    head = "[error]" if checked.flag(block, "is_error", path) else "[result]"
    content = block.get("content")
    if isinstance(content, str):
        return f"{head}\n{content}"
    return "\n".join([head, *(_string(item.get("text")) for item in _objects(content))])


def _web_search(block: Json) -> str:
    if failed := _failed(block, _inner(block)):
        return failed
    # The page itself is encrypted, for Claude alone.
    hits = [f"- {_string(hit.get('title'))} ({_string(hit.get('url'))})" for hit in _objects(block.get("content"))]
    return "\n".join(["[web_search results]", *hits])


def _web_fetch(block: Json) -> str:
    inner = _inner(block)
    if failed := _failed(block, inner):
        return failed
    source = _inner(inner).get("source")
    text = _string(source.get("data")) if isinstance(source, dict) and source.get("type") == "text" else ""
    head = f"[web_fetch result: {_string(inner.get('url'))}]"
    return f"{head}\n{text}" if text else head


def _code(block: Json) -> str:
    inner = _inner(block)
    if failed := _failed(block, inner):
        return failed
    # Output of code that has read encrypted search results; only Anthropic can read it.
    if "encrypted_stdout" in inner:
        return "[code execution result]"
    head = f"[code execution result, return code {_compact(inner.get('return_code'))}]"
    return f"{head}\n{_string(inner.get('stdout'))}{_string(inner.get('stderr'))}"


def _editor(block: Json) -> str:
    inner = _inner(block)
    if failed := _failed(block, inner):
        return failed
    lines = inner.get("lines")
    text = _string(inner.get("content"))
    if isinstance(lines, list):
        text = "\n".join(line for line in lines if isinstance(line, str))
    return f"[text editor result]\n{text}" if text else "[text editor result]"


def _tool_search(block: Json) -> str:
    inner = _inner(block)
    if failed := _failed(block, inner):
        return failed
    found = [_string(item.get("tool_name")) for item in _objects(inner.get("tool_references"))]
    return f"[tools found: {', '.join(found)}]"


def _advice(block: Json) -> str | None:
    inner = _inner(block)
    if failed := _failed(block, inner):
        return failed
    # There is none in an `advisor_redacted_result`, which only Claude can read.
    text = _string(inner.get("text"))
    return f"[advice]\n{text}" if text else None


# Tools that ran at Anthropic within the turn, and their results, stand in the assistant's message:
# https://platform.claude.com/docs/en/agents-and-tools/tool-use/server-tools.
_CALLS: dict[str, Callable[[Json, str], str]] = {
    "server_tool_use": _call,
    "mcp_tool_use": _mcp_call,
    "mcp_tool_result": _mcp_result,
}
_RESULTS: dict[str, Callable[[Json], str | None]] = {
    "web_search_tool_result": _web_search,
    "web_fetch_tool_result": _web_fetch,
    "code_execution_tool_result": _code,
    "bash_code_execution_tool_result": _code,
    "text_editor_code_execution_tool_result": _editor,
    "tool_search_tool_result": _tool_search,
    "advisor_tool_result": _advice,
}
SERVER_BLOCKS = frozenset((*_CALLS, *_RESULTS))


def server_block_text(block: Json, kind: str, path: str) -> str:
    """What the block said, as text; empty when it can only be left out."""
    said = _CALLS[kind](block, path) if kind in _CALLS else _RESULTS[kind](block)
    # Texts of one assistant message are joined with nothing between (docs/mapping.md 1.4).
    return "" if said is None else said.rstrip("\n") + "\n"


def read_thinking(block: Json, path: str) -> Reasoning | None:
    """A `thinking` or `redacted_thinking` block; None for an envelope of ours that cannot be read."""
    if block["type"] == "redacted_thinking":
        text, member, envelope = "", "data", checked.text(block, "data", path)
    else:
        text = checked.text(block, "thinking", path)
        member, envelope = "signature", checked.optional_text(block, "signature", path) or ""
    # Claude's own: the signature proves that nobody has changed the text
    # (https://platform.claude.com/docs/en/build-with-claude/extended-thinking#thinking-encryption).
    if not is_ours(envelope):
        return Reasoning(ANTHROPIC, text, {member: envelope}, path)
    sealed = unseal(envelope)
    if sealed is None:
        return None
    return Reasoning(sealed.f, text if sealed.t is None else sealed.t, sealed.d, path, is_ours=True)
