"""A tool call of Claude's on its way to an OpenAI client."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from extproc.translate.arguments import tool_input
from extproc.translate.on_messages.arguments import written
from extproc.wire.message_events import Delta


class ToolCall(ABC):
    """Ends in one of two ways: complete, or cut short by the end of the answer (mapping 2.3)."""

    is_call: ClassVar[bool] = True

    def __init__(self, id: str, input: Any) -> None:
        """`input`: what the block began with; the arguments where nothing follows."""
        self.id = id
        self.input = input
        self.pieces: list[str] = []

    def add(self, delta: Delta) -> int:
        piece = delta.partial_json
        if not piece:
            return 0
        self.pieces.append(piece)
        self.write_piece(piece)
        return len(piece)

    def is_cut(self, at_limit: bool) -> bool:
        """Whether the model has not finished it. What a block began with is an object however far the model got."""
        return tool_input("".join(self.pieces), at_limit).cut if self.pieces else at_limit

    def close(self) -> None:
        """Clients parse the arguments, so a call without any still has an object."""
        if not self.pieces:
            self.pieces.append(written(self.input))
            self.write_piece(self.pieces[0])
        self.complete("".join(self.pieces))

    @abstractmethod
    def write_piece(self, piece: str) -> None:
        """Some JSON of the arguments has come."""

    @abstractmethod
    def complete(self, arguments: str) -> None:
        """All of it has."""

    @abstractmethod
    def cut_short(self) -> None:
        """Nothing more will come; nobody may run it."""
