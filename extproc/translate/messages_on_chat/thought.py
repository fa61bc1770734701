"""The upstream's reasoning as thinking blocks, and the envelope that brings it back (mapping 2.4)."""

from typing import Any

from extproc.translate.dialects.chat.read_reasoning import DETAILS, GEMINI, add_detail
from extproc.translate.signature import seal


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
            add_detail(self._details, detail)

    def seal(self) -> str:
        text = "".join(self._text) or None
        if self.signatures:
            return seal(GEMINI, self.signatures, text)
        if self._details:
            return seal(DETAILS, self._details, text)
        return seal(self._carrier or "reasoning_content", None, text)
