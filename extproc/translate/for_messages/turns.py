"""Turns of the conversation as the upstream will see them: neighbours of one role are one turn."""

from typing import Any, NamedTuple

import msgspec

from extproc.translate import want
from extproc.translate.capability import rejected
from extproc.translate.for_messages import media, results, serverside
from extproc.translate.for_messages.draft import Draft, Part
from extproc.translate.for_messages.results import Result
from extproc.translate.want import Json, refused, unsupported

SEAM = "\n\n"

_TEXT = frozenset(("type", "text", "cache_control", "citations"))
_TOOL_USE = frozenset(("type", "id", "name", "input", "cache_control", "caller", "toolset_name"))
_SILENT = frozenset(("mcp_tool_listing", "fallback", "compaction"))
_USER_ONLY = frozenset(("tool_result",))
_ASSISTANT_ONLY = frozenset(("tool_use", "thinking", "redacted_thinking"))


class Thinking(NamedTuple):
    """Reasoning of an earlier answer: what the client saw, and the envelope it came in."""

    text: str
    envelope: str


Item = Part | Json | Thinking
"""A text, a call or a thought."""


class SystemTurn:
    """Instructions in the middle of the conversation."""

    __slots__ = ("parts",)

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts


class UserTurn:
    """Results of the calls before it, and what the user says."""

    __slots__ = ("listed", "parts", "plain", "results")

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.parts: list[Part] = []
        self.plain = True
        """Text only."""
        self.listed = False
        """The client sent a list; it stays one where cache hints travel."""

    def say(self, text: str) -> None:
        self.parts.append({"type": "text", "text": text})

    def attach(self, parts: list[Part]) -> None:
        self.parts += parts
        self.plain = self.plain and not parts

    def is_empty(self) -> bool:
        return not self.parts and not self.results


class AssistantTurn:
    """What the model said, called and thought."""

    __slots__ = ("calls", "listed", "messages", "parts", "path", "texts")

    def __init__(self, path: str) -> None:
        self.path = path
        self.texts: list[str] = []
        """One for each message that says something."""
        self.parts: list[Part] = []
        self.calls: list[Json] = []
        self.messages: list[list[Item]] = [[]]
        """All of it once more, in the order of the blocks; a list for each of the client's messages."""
        self.listed = False

    def is_empty(self) -> bool:
        return not self.texts and not self.calls

    @property
    def text(self) -> str:
        return SEAM.join(self.texts)

    def merge(self, later: "AssistantTurn") -> None:
        self.texts += later.texts
        self.parts += later.parts
        self.calls += later.calls
        self.messages += later.messages
        self.path = later.path
        self.listed = self.listed or later.listed


Turn = SystemTurn | UserTurn | AssistantTurn


def add_user(draft: Draft, turn: UserTurn, content: Any, path: str, first: int = 0) -> None:
    """Reads one user message, from its block `first` on, into a turn that may hold earlier ones."""
    if isinstance(content, str):
        if content:
            turn.say(content)
        return
    turn.listed = True
    for n in range(first, len(content)):
        where = f"{path}.content.{n}"
        block = want.item(content[n], where)
        kind = want.text(block, "type", where)
        if kind == "text":
            _user_text(draft, turn, block, where)
        elif kind == "tool_result":
            if turn.parts:
                draft.warnings.add("reordered", f"{path}.content", "tool_result blocks must come first")
            turn.results.append(results.read(draft, block, where))
        else:
            _other_user(draft, turn, block, kind, where)


def _user_text(draft: Draft, turn: UserTurn, block: Json, path: str) -> None:
    text = want.text(block, "text", path)
    draft.warnings.unknown(block, _TEXT, path)
    if block.get("citations") and draft.strict_about_2026_10_21():
        raise refused(f"{path}.citations", "Extra inputs are not permitted")
    if text:
        turn.parts.append(draft.mark_cached({"type": "text", "text": text}, block))


def _other_user(draft: Draft, turn: UserTurn, block: Json, kind: str, path: str) -> None:
    if kind == "image":
        turn.attach([media.image(draft, block, path)])
    elif kind in _ASSISTANT_ONLY:
        raise refused(path, f"`{kind}` blocks may only be in `assistant` messages")
    else:
        # Beside results it comes from a tool: Claude Code 2.1.197 puts what it has read there.
        text, attached = _either(draft, block, kind, path, attached=draft.in_last_turn and not turn.results)
        if text:
            turn.parts.append(draft.mark_cached({"type": "text", "text": text}, block))
        turn.attach(attached)


def assistant(draft: Draft, content: Any, path: str, first: int = 0) -> AssistantTurn:
    """Reads one assistant message, from its block `first` on."""
    turn = AssistantTurn(path)
    if isinstance(content, str):
        if content:
            turn.texts = [content]
            turn.parts = [{"type": "text", "text": content}]
            turn.messages = [list(turn.parts)]
        return turn
    turn.listed = True
    said: list[str] = []
    for n in range(first, len(content)):
        where = f"{path}.content.{n}"
        block = want.item(content[n], where)
        text = _assistant_block(draft, turn, block, where)
        if text:
            said.append(text)
            turn.parts.append(draft.mark_cached({"type": "text", "text": text}, block))
            turn.messages[0].append(turn.parts[-1])
    if said:
        turn.texts = ["".join(said)]
    return turn


def _assistant_block(draft: Draft, turn: AssistantTurn, block: Json, path: str) -> str:
    kind = want.text(block, "type", path)
    if kind == "text":
        draft.warnings.unknown(block, _TEXT, path)
        return want.text(block, "text", path)
    if kind == "tool_use":
        turn.calls.append(_call(draft, block, path))
        turn.messages[0].append(turn.calls[-1])
        return ""
    if kind in ("thinking", "redacted_thinking"):
        turn.messages[0].append(_thinking(block, path))
        return ""
    if kind == "image":
        raise unsupported(path, rejected("an image in an assistant turn cannot be sent on", "image_block"))
    if kind in _USER_ONLY:
        raise refused(path, f"`{kind}` blocks may only be in `user` messages")
    if kind == "document" and draft.strict_about_2026_10_21():
        raise refused(path, "document blocks may only be in `user` messages")
    text, attached = _either(draft, block, kind, path)
    if attached:
        problem = "an assistant turn can only hold documents that are text"
        raise unsupported(path, rejected(problem, "document_block"))
    return text


def _thinking(block: Json, path: str) -> Thinking:
    if block["type"] == "redacted_thinking":
        return Thinking("", want.text(block, "data", path))
    return Thinking(want.text(block, "thinking", path), want.optional_text(block, "signature", path) or "")


def _call(draft: Draft, block: Json, path: str) -> Json:
    """The call as the upstream wrote it, but for its id under the client's name (see `emit`)."""
    call = want.text(block, "id", path)
    name = want.text(block, "name", path)
    if not name:
        raise refused(f"{path}.name", "String should have at least 1 character")
    arguments = msgspec.json.encode(want.mapping(block, "input", path)).decode()
    draft.warnings.unknown(block, _TOOL_USE, path)
    function = {
        "name": draft.function_name(name, want.optional_text(block, "toolset_name", path)),
        "arguments": arguments,
    }
    return {"id": call, "type": "function", "function": function}


def _either(draft: Draft, block: Json, kind: str, path: str, *, attached: bool = False) -> tuple[str, list[Part]]:
    """Blocks that either side may hold: as text, and what is no text."""
    if kind == "document":
        return media.document(draft, block, path, attached=attached)
    if kind == "search_result":
        return media.search_result(draft, block, path), []
    if kind in serverside.TYPES:
        said = serverside.text(block, kind, path)
        draft.warnings.add("approx", path, "the upstream has no such tool")
        return said, []
    if kind == "container_upload":
        raise unsupported(path, "files in a container of Anthropic's cannot be reached from here")
    if kind in _SILENT:
        return "", []
    return results.unknown(draft, block, path), []
