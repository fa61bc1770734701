"""Blocks in the order they began, one of them on the wire."""

from collections import deque

from extproc.translate.for_messages.blocks_out import Block
from extproc.translate.for_messages.sinks import Sink

MAX_WAITING = 8 * 1024 * 1024


class Overfull(Exception):
    """More waits behind the open block than we keep."""


class BlockQueue:
    """Raises Overfull."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._blocks: deque[Block] = deque()
        self._waiting = 0

    @property
    def tail(self) -> Block | None:
        return self._blocks[-1] if self._blocks else None

    def push(self, block: Block, size: int) -> None:
        self._blocks.append(block)
        self.advance(size)

    def advance(self, size: int) -> None:
        """Writes the first block and closes it if it can give way. There is none when a call that was closed at the
        finish is spoken of again."""
        while self._blocks:
            first = self._blocks[0]
            first.write(self._sink)
            if len(self._blocks) == 1:
                self._waiting = 0
                return
            if not first.yields():
                self.wait(size)
                return
            self.close_first(at_limit=False)

    def close_first(self, *, at_limit: bool) -> None:
        block = self._blocks.popleft()
        block.write(self._sink)
        block.close(self._sink, at_limit)

    def wait(self, size: int) -> None:
        self._waiting += size
        if self._waiting > MAX_WAITING:
            raise Overfull

    def finish_reached(self) -> None:
        """Closes what is complete; calls that are not may still get the rest of their arguments."""
        while self._blocks:
            block = self._blocks[0]
            block.write(self._sink)
            if not block.yields():
                return
            self.close_first(at_limit=False)

    def close(self, *, at_limit: bool = False) -> None:
        """`at_limit`: the token limit was reached, so blocks may be incomplete."""
        while self._blocks:
            self.close_first(at_limit=at_limit)

    def is_cut(self) -> bool:
        """Whether the model has not finished a block, should the answer end here without saying why."""
        return any(block.is_cut(at_limit=True) for block in self._blocks)
