"""The upstream's reasoning as thinking blocks, and the envelope that brings it back (mapping 2.4)."""

from typing import Any

from extproc.profiles import ReasoningField
from extproc.translate.signature import seal
from extproc.wire.chat import Said, ToolCall

MISTRAL = "mistral_thinking"
_GEMINI = "gemini_thought_signature"
# Pieces of one streamed detail of OpenRouter's, joined again.
_JOINED = ("text", "summary")


class Thought:
    """What one thinking block is made of, besides the text the client sees."""

    __slots__ = ("_carrier", "_details", "_text", "signatures")

    def __init__(self) -> None:
        self._carrier = ""
        self._text: list[str] = []
        self._details: list[Any] = []
        self.signatures: dict[str, str] = {}
        """Gemini's, by the upstream's id of the call."""

    def __bool__(self) -> bool:
        return bool(self._text or self._details or self.signatures)

    def keep(self, text: str) -> None:
        if text:
            self._text.append(text)

    def add(self, carrier: str, details: list[Any] | None) -> None:
        self._carrier = self._carrier or carrier
        for detail in details or ():
            self._add_detail(detail)

    def seal(self) -> str:
        text = "".join(self._text) or None
        if self.signatures:
            return seal(_GEMINI, self.signatures, text)
        if self._details:
            return seal("reasoning_details", self._details, text)
        return seal(self._carrier or "reasoning_content", None, text)

    def _add_detail(self, detail: Any) -> None:
        last: Any = self._details[-1] if self._details else None
        if not _continues(last, detail):
            self._details.append(dict(detail) if isinstance(detail, dict) else detail)
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


def heard(said: Said, fields: tuple[ReasoningField, ...]) -> tuple[str, str]:
    """Carrier and text of the first member with reasoning; vLLM fills two with the same."""
    for name in fields:
        if name == "reasoning_details":
            text = "".join(_detail_text(detail) for detail in said.reasoning_details or ())
        else:
            text = getattr(said, name) or ""
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
