"""Filters an answer's text: cuts an echoed prefill, tells reasoning in `<think>` tags apart, ends at stop strings."""

from collections.abc import Iterable

# Chat templates of DeepSeek R1, Qwen and others write reasoning so, where the server does not take it apart.
_OPEN, _CLOSE = "<think>", "</think>"
Piece = tuple[bool, str]
"""Whether it is reasoning, and the text."""


class TextFilter:
    """Feed it text; what cannot be decided yet is held back until more comes or `flush`."""

    def __init__(self, *, prefill: str = "", stops: Iterable[str] = (), think_tags: bool = False) -> None:
        self.matched: str | None = None
        """The stop string that was found; nothing passes after it."""
        self._prefill = prefill
        self._stops = tuple(stop for stop in stops if stop)
        self._tag = _OPEN if think_tags else ""
        """The tag that is looked for."""
        self._start = ""
        self._held = ""

    @property
    def is_needed(self) -> bool:
        return bool(self._prefill or self._stops or self._tag)

    def feed(self, text: str) -> list[Piece]:
        text = self._without_prefill(text)
        return self._until_stop(self._untagged(text)) if text else []

    def flush(self) -> list[Piece]:
        """Something else than text follows: the text that was held back, unchanged."""
        start, self._prefill, self._start = self._start, "", ""
        found = self._until_stop(self._untagged(start)) if start else []
        in_reasoning = self._tag == _CLOSE
        held, self._held = self._held, ""
        if self._tag == _OPEN:
            self._tag = ""
        return [*found, (in_reasoning, held)] if held and self.matched is None else found

    def _without_prefill(self, text: str) -> str:
        if not self._prefill:
            return text
        self._start += text
        if len(self._start) < len(self._prefill) and self._prefill.startswith(self._start):
            return ""
        # Some servers repeat the beginning of an answer that they continue, others do not (docs/mapping.md 1.4).
        rest = self._start.removeprefix(self._prefill)
        self._prefill = self._start = ""
        return rest

    def _untagged(self, text: str) -> list[Piece]:
        if not self._tag:
            return [(False, text)]
        self._held += text
        if self._tag == _OPEN:
            return self._leading_tag()
        before, tag, after = self._held.partition(_CLOSE)
        if tag:
            self._held, self._tag = "", ""
            # Models write a blank line between the tag and their answer.
            return [(True, before), (False, after.lstrip("\n"))]
        keep = _overlap(before, (_CLOSE,))
        self._held = before[len(before) - keep :]
        return [(True, before[: len(before) - keep])]

    def _leading_tag(self) -> list[Piece]:
        visible = self._held.lstrip()
        if visible.startswith(_OPEN):
            self._held, self._tag = "", _CLOSE
            return self._untagged(visible.removeprefix(_OPEN))
        if _OPEN.startswith(visible):
            return []
        text, self._held, self._tag = self._held, "", ""
        return [(False, text)]

    def _until_stop(self, found: list[Piece]) -> list[Piece]:
        pieces = [(reasoning, text if reasoning else self._cut(text)) for reasoning, text in found]
        return [piece for piece in pieces if piece[1]]

    def _cut(self, text: str) -> str:
        if not self._stops or self.matched is not None:
            return "" if self.matched is not None else text
        text, self._held = self._held + text, ""
        hits = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if hits:
            at, self.matched = min(hits)
            return text[:at]
        # What may be the beginning of a stop string waits until more text decides.
        keep = _overlap(text, self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, words: tuple[str, ...]) -> int:
    """Length of the longest end of `text` that begins one of the words without being a whole one."""
    longest = min(len(text), max(map(len, words)) - 1)
    return next((n for n in range(longest, 0, -1) if any(w.startswith(text[-n:]) and len(w) > n for w in words)), 0)
