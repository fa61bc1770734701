"""Tool results: one `tool` message each. What is no text moves to the user message that follows."""

from typing import Any

from extproc.translate import want
from extproc.translate.for_messages import media
from extproc.translate.for_messages.draft import Draft, Part
from extproc.translate.want import Json

_KNOWN = frozenset(("type", "tool_use_id", "content", "is_error", "cache_control", "toolset_name"))
_CHANGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "tab_opened": ("Tab opened:", ("tab_id",)),
    "download_started": ("Download started:", ("download_id", "url")),
    "download_completed": ("Download completed:", ("download_id", "url", "path", "size_bytes")),
    "download_failed": ("Download failed:", ("download_id", "url", "error")),
}


class Result:
    """One tool_result, ready to be sent once its call is known."""

    __slots__ = ("attached", "content", "id", "path", "upstream_id")

    def __init__(self, id: str, upstream_id: str, path: str) -> None:
        self.id = id
        self.upstream_id = upstream_id
        self.path = path
        self.content: str | list[Part] = ""
        self.attached: list[Part] = []

    def message(self) -> Json:
        return {"role": "tool", "tool_call_id": self.upstream_id, "content": self.content}


def read(draft: Draft, block: Json, path: str) -> Result:
    call = want.text(block, "tool_use_id", path)
    result = Result(call, draft.history_id(call), path)
    draft.warnings.unknown(block, _KNOWN, path)
    content = block.get("content")
    parts: list[Part] = []
    if content is None or isinstance(content, str):
        text = content or ""
    else:
        parts = _parts(draft, want.sequence(block, "content", path), f"{path}.content", result)
        text = "\n\n".join(part["text"] for part in parts if part["type"] == "text")
    failed = want.flag(block, "is_error", path)
    if any(part["type"] != "text" for part in parts):
        result.content = _listed(parts, failed=failed)
        return result
    result.content = _as_error(text) if failed else text
    if draft.profile.map_cache_control and block.get("cache_control"):
        result.content = [draft.mark_cached({"type": "text", "text": result.content}, block)]
    return result


def _listed(parts: list[Part], *, failed: bool) -> list[Part]:
    """In the order of the source; that it failed is said by the first text."""
    if not failed:
        return parts
    first = next((n for n, part in enumerate(parts) if part["type"] == "text"), None)
    if first is None:
        return [{"type": "text", "text": _as_error("")}, *parts]
    return [{**part, "text": _as_error(part["text"])} if n == first else part for n, part in enumerate(parts)]


def _as_error(text: str) -> str:
    if not text:
        return "Error: (no details)"
    return text if text[:5].lower() == "error" else f"Error: {text}"


def _parts(draft: Draft, blocks: list[Any], path: str, result: Result) -> list[Part]:
    parts: list[Part] = []
    counts: dict[str, int] = {}
    for n, found in enumerate(blocks):
        where = f"{path}.{n}"
        block = want.item(found, where)
        text, attached = _block(draft, block, where)
        if text:
            parts.append({"type": "text", "text": text})
        for part in attached:
            _attach(draft, part, parts, counts, result)
    return parts


def _attach(draft: Draft, part: Part, parts: list[Part], counts: dict[str, int], result: Result) -> None:
    if draft.stays(part):
        parts.append(part)
        return
    kind = "image" if part["type"] == "image_url" else "document"
    counts[kind] = counts.get(kind, 0) + 1
    label = f"{kind} #{counts[kind]} of tool result {result.upstream_id}"
    parts.append({"type": "text", "text": f"[{label} attached in the next user message]"})
    result.attached += [{"type": "text", "text": f"[{label}]"}, part]


def _block(draft: Draft, block: Json, path: str) -> tuple[str, list[Part]]:
    match want.text(block, "type", path):
        case "text":
            return want.text(block, "text", path), []
        case "image":
            return "", [media.image(draft, block, path)]
        case "document":
            return media.document(draft, block, path, attached=False)
        case "search_result":
            return media.search_result(draft, block, path), []
        case "tool_reference":
            return f"Tool available: {want.text(block, 'tool_name', path)}", []
        case "browser_state":
            return _browser_state(block, path), []
        case _:
            return unknown(draft, block, path), []


def unknown(draft: Draft, block: Json, path: str) -> str:
    """A block of a type nobody here has heard of: its text, if it has one."""
    text = block.get("text")
    said = text if isinstance(text, str) else ""
    draft.warnings.add("approx" if said else "dropped", path, f"block type {block.get('type')!r} is not supported")
    return said


def _browser_state(block: Json, path: str) -> str:
    lines = ["Tabs:"]
    for n, found in enumerate(want.sequence(block, "tabs", path)):
        where = f"{path}.tabs.{n}"
        tab = want.item(found, where)
        active = " (active)" if want.flag(tab, "active", where) else ""
        lines.append(f"* {' '.join(want.text(tab, key, where) for key in ('tab_id', 'title', 'url'))}{active}")
    for n, found in enumerate(want.optional_sequence(block, "state_changes", path)):
        lines.append(_state_change(want.item(found, f"{path}.state_changes.{n}")))
    return "\n".join(lines)


def _state_change(change: Json) -> str:
    kind = change.get("type")
    title, members = _CHANGES.get(kind, (kind, ())) if isinstance(kind, str) else ("Changed", ())
    return " ".join([title, *(str(change[key]) for key in members if isinstance(change.get(key), str | int))])
