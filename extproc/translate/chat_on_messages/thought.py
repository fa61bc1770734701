"""Claude's thinking on its way through a Chat client and back.

Claude checks the signature of its thinking, so only blocks with one travel; unsigned reasoning is dropped.
"""

from typing import Any

from extproc.translate.pair import Json
from extproc.translate.signature import is_ours

FORMAT = "anthropic-claude-v1"


def detail(index: int, *, text: str, signature: str) -> Json:
    return {"type": "reasoning.text", "text": text, "signature": signature, "format": FORMAT, "index": index}


def encrypted(index: int, data: str) -> Json:
    return {"type": "reasoning.encrypted", "data": data, "format": FORMAT, "index": index}


def restored(message: Json) -> list[Json]:
    """The thinking blocks of an assistant message; as LiteLLM hands them on, where ours are not there."""
    return _blocks(_sorted(message.get("reasoning_details")), _from_detail) or _blocks(
        message.get("thinking_blocks"), _from_block
    )


def _blocks(items: Any, read: Any) -> list[Json]:
    found = (read(item) for item in items if isinstance(item, dict)) if isinstance(items, list) else ()
    return [block for block in found if block is not None]


def _sorted(details: Any) -> Any:
    if not isinstance(details, list):
        return None
    return sorted((item for item in details if isinstance(item, dict)), key=_index)


def _index(item: Json) -> int:
    index = item.get("index")
    return index if type(index) is int else 0


def _from_detail(item: Json) -> Json | None:
    if item.get("format") != FORMAT:
        return None
    if item.get("type") == "reasoning.encrypted":
        return _redacted(item.get("data"))
    return _thinking(item.get("text") or "", item.get("signature")) if item.get("type") == "reasoning.text" else None


def _from_block(item: Json) -> Json | None:
    if item.get("type") == "redacted_thinking":
        return _redacted(item.get("data"))
    return _thinking(item.get("thinking"), item.get("signature")) if item.get("type") == "thinking" else None


def _thinking(text: Any, signature: Any) -> Json | None:
    if not (isinstance(text, str) and isinstance(signature, str) and signature) or is_ours(signature):
        return None
    return {"type": "thinking", "thinking": text, "signature": signature}


def _redacted(data: Any) -> Json | None:
    return {"type": "redacted_thinking", "data": data} if isinstance(data, str) and data and not is_ours(data) else None
