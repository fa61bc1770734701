"""Reasoning in Chat messages: how it travels through a Chat client and back (docs/mapping.md 4.6, 6.6), and the members
and chunks in which vendors put it (2.4).

The dialect itself has no place for it. `reasoning_details` is OpenRouter's member, which clients return as it came;
LiteLLM's is `thinking_blocks`. Only reasoning that its vendor can verify travels: unsigned text is dropped.
"""

from collections.abc import Iterator
from typing import Any

from extproc.providers.profiles import ReasoningField
from extproc.translate.checked import Json
from extproc.translate.conversation import ANTHROPIC, Reasoning
from extproc.translate.part_queue import PartQueue, ReasoningPart
from extproc.translate.signature import is_ours, seal, unseal
from extproc.wire.chat import AnswerMessage, ToolCall

# https://openrouter.ai/docs/use-cases/reasoning-tokens#responses-api-shape: entries say by whom they were made.
CLAUDE_FORMAT = "anthropic-claude-v1"
OPENAI_FORMAT = "openai-responses-v1"


def write_reasoning(index: int, carrier: str, text: str, data: Any) -> Json | None:
    """An entry of `reasoning_details`, or None where the vendor wants nothing back."""
    # Each entry has an `index`, since OpenAI's SDK raises on a list in a delta whose entries have none.
    members = data if isinstance(data, dict) else {}
    if carrier == ANTHROPIC and isinstance(members.get("signature"), str):
        head = {"type": "reasoning.text", "text": text, "signature": members["signature"]}
        return {**head, "format": CLAUDE_FORMAT, "index": index}
    if carrier == ANTHROPIC and isinstance(members.get("data"), str):
        return {"type": "reasoning.encrypted", "data": members["data"], "format": CLAUDE_FORMAT, "index": index}
    if not data:
        return None
    envelope = seal(carrier, data, text or None)
    return {"type": "reasoning.encrypted", "data": envelope, "format": OPENAI_FORMAT, "index": index}


def read_reasoning(message: Json, path: str) -> list[Reasoning]:
    """What an assistant message carries back, in the order in which it was given."""
    if "reasoning_details" not in message and "thinking_blocks" not in message:
        return []
    return list(_from_details(message, path)) or list(_from_thinking_blocks(message, path))


def _from_details(message: Json, path: str) -> Iterator[Reasoning]:
    where = f"{path}.reasoning_details"
    for detail in sorted(_objects(message.get("reasoning_details")), key=_index):
        data, text, signature = detail.get("data"), detail.get("text"), detail.get("signature")
        if is_ours(data) and (restored := _unsealed(data, where)):
            yield restored
        elif detail.get("format") != CLAUDE_FORMAT:
            continue
        elif detail.get("type") == "reasoning.encrypted" and isinstance(data, str) and data:
            yield Reasoning(ANTHROPIC, "", {"data": data}, where)
        elif detail.get("type") == "reasoning.text" and (found := _signed(text or "", signature, where)):
            yield found


def _from_thinking_blocks(message: Json, path: str) -> Iterator[Reasoning]:
    where = f"{path}.thinking_blocks"
    for block in _objects(message.get("thinking_blocks")):
        data, signature = block.get("data"), block.get("signature")
        ours = signature if is_ours(signature) else data if is_ours(data) else None
        if ours is not None:
            if restored := _unsealed(ours, where, block.get("thinking")):
                yield restored
        elif block.get("type") == "redacted_thinking" and isinstance(data, str) and data:
            yield Reasoning(ANTHROPIC, "", {"data": data}, where)
        elif block.get("type") == "thinking" and (found := _signed(block.get("thinking"), signature, where)):
            yield found


def _unsealed(envelope: Any, path: str, text: Any = None) -> Reasoning | None:
    sealed = unseal(envelope)
    if sealed is None:
        return None
    shown = text if isinstance(text, str) else ""
    return Reasoning(sealed.f, shown if sealed.t is None else sealed.t, sealed.d, path)


def _signed(text: Any, signature: Any, path: str) -> Reasoning | None:
    # Clients send back whatever stands in a message. Without a signature nobody can tell thinking of Claude's from any
    # text.
    if isinstance(text, str) and isinstance(signature, str) and signature and not is_ours(signature):
        return Reasoning(ANTHROPIC, text, {"signature": signature}, path)
    return None


def _objects(found: Any) -> list[Json]:
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _index(detail: Json) -> int:
    index = detail.get("index")
    return index if type(index) is int else 0


# https://ai.google.dev/gemini-api/docs/thought-signatures, https://docs.mistral.ai/capabilities/reasoning
DETAILS, GEMINI, MISTRAL = "reasoning_details", "gemini_thought_signature", "mistral_thinking"
# Pieces of one streamed detail of OpenRouter's, joined again.
_JOINED = ("text", "summary")


class ReasoningReader:
    """Puts reasoning into parts of the queue, with what the vendor wants back."""

    def __init__(self, queue: PartQueue, *, is_needed: bool) -> None:
        """`is_needed`: the provider wants it back on the next turn."""
        self._queue = queue
        self._is_needed = is_needed
        self._part: ReasoningPart | None = None
        self._details: list[Any] = []
        self._signatures: dict[str, str] = {}

    def add(self, carrier: str, text: str, details: list[Any] | None) -> None:
        part = self._open(carrier)
        for detail in details or ():
            add_detail(self._details, detail)
        if self._details and not self._signatures:
            part.carrier, part.data = DETAILS, self._details
        if text:
            part.add(text)
        self._queue.advance(len(text))

    def add_mistral(self, text: str) -> None:
        self.add(MISTRAL, text, None)

    def sign(self, call_id: str, signature: str) -> None:
        """Gemini's signature of a call, by the provider's id of the call; it stands before the call."""
        part = self._open(GEMINI)
        self._signatures[call_id] = signature
        part.carrier, part.data = GEMINI, self._signatures

    def end(self) -> None:
        self._part = None

    def _open(self, carrier: str) -> ReasoningPart:
        """The open part, or a new one: reasoning that comes back after text is a part of its own."""
        if self._part is None or self._queue.last is not self._part:
            self._details, self._signatures = [], {}
            self._part = ReasoningPart(carrier, is_needed=self._is_needed)
            self._part.ended = True  # it may give way as soon as another part begins
            self._queue.push(self._part)
        return self._part


def add_detail(details: list[Any], detail: Any) -> None:
    """One piece of OpenRouter's `reasoning_details`: it begins an entry, or goes on with the last."""
    last: Any = details[-1] if details else None
    if not _continues(last, detail):
        details.append(dict(detail) if isinstance(detail, dict) else detail)
        return
    for name, value in detail.items():
        if name in _JOINED and isinstance(value, str) and isinstance(last.get(name), str):
            last[name] += value
        elif value is not None:
            last[name] = value


def _continues(last: Any, detail: Any) -> bool:
    if not (isinstance(last, dict) and isinstance(detail, dict)):
        return False
    same = all(last.get(name) == detail.get(name) for name in ("type", "index"))
    return same and any(isinstance(detail.get(name), str) for name in (*_JOINED, "signature"))


def reasoning_text(message: AnswerMessage, fields: tuple[ReasoningField, ...]) -> tuple[str, str]:
    """Carrier and text of the first member with reasoning; vLLM fills two with the same."""
    # DeepSeek's `reasoning_content`, the `reasoning` of OpenRouter, Groq and newer vLLM, OpenRouter's details.
    for name in fields:
        if name == DETAILS:
            text = "".join(_detail_text(detail) for detail in message.reasoning_details or ())
        else:
            text = getattr(message, name) or ""
        if text:
            return name, text
    return "", ""


def _detail_text(detail: Any) -> str:
    if not isinstance(detail, dict):
        return ""
    return next((detail[name] for name in _JOINED if isinstance(detail.get(name), str)), "")


def call_signature(call: ToolCall) -> str | None:
    """Gemini 3 refuses the next step of a tool loop without it."""
    vendors = call.extra_content if isinstance(call.extra_content, dict) else {}
    for vendor in ("google", "vertex"):
        inner = vendors.get(vendor)
        if isinstance(inner, dict) and isinstance(signature := inner.get("thought_signature"), str):
            return signature
    return None


def content_pieces(content: Any) -> list[tuple[bool, str]]:
    """Whether it is reasoning, and the text: of a string, or of the typed chunks of Mistral and some proxies."""
    if isinstance(content, str):
        return [(False, content)] if content else []
    items = content if isinstance(content, list) else [content]
    return [piece for item in items for piece in _chunk(item)]


def _chunk(item: Any) -> list[tuple[bool, str]]:
    if isinstance(item, str):
        return [(False, item)]
    if isinstance(item, int | float) and not isinstance(item, bool):
        return [(False, str(item))]
    if not isinstance(item, dict):
        return []
    if item.get("type") == "thinking":
        return [(True, text) for _, text in content_pieces(item.get("thinking"))]
    return [(False, text)] if isinstance(text := item.get("text"), str) and text else []
