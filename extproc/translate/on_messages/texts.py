"""A block of text, and where in the answer it stands for those who cite it."""

from collections.abc import Callable
from typing import ClassVar

from extproc.translate.pair import Json
from extproc.wire.message_events import Block, Citation, Delta


class Text:
    is_call: ClassVar[bool] = False

    def __init__(self, say: Callable[[str], None], cite: Callable[[list[Json]], None], position: int) -> None:
        """`position`: characters before it. `cite` is told the pages of the web the block rests on, at its end."""
        self._say = say
        self._cite = cite
        self._start = self._end = position
        self._citations: list[Citation] = []

    def begin(self, block: Block) -> int:
        self._citations += block.citations or ()
        return self._add(block.text)

    def add(self, delta: Delta) -> int:
        if delta.citation is not None:
            self._citations.append(delta.citation)
        return self._add(delta.text)

    def close(self) -> None:
        cited = [c for c in self._citations if c.type == "web_search_result_location" and c.url]
        if cited:
            self._cite([self._annotation(citation) for citation in cited])

    def _add(self, text: str | None) -> int:
        if not text:
            return 0
        self._end += len(text)
        self._say(text)
        return len(text)

    def _annotation(self, citation: Citation) -> Json:
        span = {"start_index": self._start, "end_index": self._end}
        return {**span, "title": citation.title or "", "url": citation.url}
