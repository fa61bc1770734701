"""What `content` holds: text, reasoning written into the text, text that must not reach the client."""

from typing import Any

from extproc.translate.for_messages.asked import Asked

Piece = tuple[bool, str]
"""Whether it is reasoning, and the text."""

_OPEN, _CLOSE = "<think>", "</think>"


def pieces(content: Any) -> list[Piece]:
    """A string, or the typed chunks of Mistral and some proxies."""
    if isinstance(content, str):
        return [(False, content)] if content else []
    items = content if isinstance(content, list) else [content]
    return [piece for item in items for piece in _chunk(item)]


def _chunk(item: Any) -> list[Piece]:
    if isinstance(item, str):
        return [(False, item)]
    if isinstance(item, int | float) and not isinstance(item, bool):
        return [(False, str(item))]
    if not isinstance(item, dict):
        return []
    if item.get("type") == "thinking":
        return [(True, text) for _, text in pieces(item.get("thinking"))]
    return [(False, text)] if isinstance(text := item.get("text"), str) and text else []


def speech_for(asked: Asked) -> "Speech | None":
    """None where text passes as it is, which is nearly always."""
    profile = asked.profile
    stops = asked.stop_sequences if profile.local_stop else ()
    return (
        Speech(asked.prefill, stops, profile.parse_think_tags)
        if asked.prefill or stops or profile.parse_think_tags
        else None
    )


class Speech:
    """Feed it text; what cannot be decided yet is held back."""

    def __init__(self, prefill: str, stops: tuple[str, ...], think_tags: bool) -> None:
        self._prefill = prefill
        self._tags = _OPEN if think_tags else ""
        """The tag that is looked for."""
        self._stops = tuple(stop for stop in stops if stop)
        self._start = ""
        self._held = ""
        self.matched: str | None = None

    def feed(self, text: str) -> list[Piece]:
        text = self._without_prefill(text)
        return self._cut(self._tagged(text)) if text else []

    def flush(self) -> list[Piece]:
        """Something else than text follows, so what is held is what it is."""
        start, self._prefill, self._start = self._start, "", ""
        out = self._cut(self._tagged(start)) if start else []
        thinking = self._tags == _CLOSE
        held, self._held = self._held, ""
        if self._tags == _OPEN:
            self._tags = ""
        return [*out, (thinking, held)] if held and self.matched is None else out

    def _without_prefill(self, text: str) -> str:
        if not self._prefill:
            return text
        self._start += text
        if len(self._start) < len(self._prefill) and self._prefill.startswith(self._start):
            return ""
        start = self._start.removeprefix(self._prefill)
        self._prefill = self._start = ""
        return start

    def _tagged(self, text: str) -> list[Piece]:
        if not self._tags:
            return [(False, text)]
        self._held += text
        if self._tags == _OPEN:
            return self._leading()
        before, tag, after = self._held.partition(_CLOSE)
        if tag:
            self._held, self._tags = "", ""
            return [(True, before), (False, after.lstrip("\n"))]
        keep = _overlap(before, (_CLOSE,))
        self._held = before[len(before) - keep :]
        return [(True, before[: len(before) - keep])]

    def _leading(self) -> list[Piece]:
        visible = self._held.lstrip()
        if visible.startswith(_OPEN):
            self._held, self._tags = "", _CLOSE
            return self._tagged(visible.removeprefix(_OPEN))
        if _OPEN.startswith(visible):
            return []
        text, self._held, self._tags = self._held, "", ""
        return [(False, text)]

    def _cut(self, found: list[Piece]) -> list[Piece]:
        out = [(thinking, text if thinking else self._until_stop(text)) for thinking, text in found]
        return [piece for piece in out if piece[1]]

    def _until_stop(self, text: str) -> str:
        if not self._stops or self.matched is not None:
            return "" if self.matched is not None else text
        text, self._held = self._held + text, ""
        hits = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if hits:
            at, self.matched = min(hits)
            return text[:at]
        keep = _overlap(text, self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, words: tuple[str, ...]) -> int:
    """Length of the longest end of `text` that is a beginning of a word, but no whole one."""
    longest = min(len(text), max(map(len, words)) - 1)
    return next((n for n in range(longest, 0, -1) if any(w.startswith(text[-n:]) and len(w) > n for w in words)), 0)
