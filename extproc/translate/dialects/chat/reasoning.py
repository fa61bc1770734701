"""Reasoning in Chat messages: how it travels through a Chat client and back (docs/mapping.md 4.6, 6.6).

The dialect itself has no place for it. `reasoning_details` is OpenRouter's member, which clients return as it came;
LiteLLM's is `thinking_blocks`. Only reasoning that its vendor can verify travels: unsigned text is dropped.
"""

from collections.abc import Iterator
from typing import Any

from extproc.translate.conversation import ANTHROPIC, Reasoning
from extproc.translate.signature import is_ours, seal, unseal
from extproc.translate.want import Json

CLAUDE_FORMAT = "anthropic-claude-v1"
OPENAI_FORMAT = "openai-responses-v1"


def write_reasoning(index: int, carrier: str, text: str, data: Any) -> Json | None:
    """An entry of `reasoning_details`, or None where the vendor wants nothing back."""
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
    if isinstance(text, str) and isinstance(signature, str) and signature and not is_ours(signature):
        return Reasoning(ANTHROPIC, text, {"signature": signature}, path)
    return None


def _objects(found: Any) -> list[Json]:
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _index(detail: Json) -> int:
    index = detail.get("index")
    return index if type(index) is int else 0
