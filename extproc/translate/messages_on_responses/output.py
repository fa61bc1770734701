"""What the items of an answer have in common: where they write, and in which order."""

from extproc.translate.for_messages.account import Account
from extproc.translate.for_messages.asked import Asked
from extproc.translate.for_messages.block_queue import BlockQueue
from extproc.translate.for_messages.call_names import CallNames
from extproc.translate.messages_on_responses.blocks import Thinking
from extproc.translate.text_filter import TextFilter


class Output:
    """Raises block_queue.Overfull."""

    def __init__(self, asked: Asked, blocks: BlockQueue, account: Account) -> None:
        self.blocks = blocks
        self.account = account
        self.names = CallNames(asked)
        stops = asked.stop_sequences if asked.profile.local_stop else ()
        self.speech = TextFilter(prefill=asked.prefill, stops=stops) if asked.prefill or stops else None
        self.refusal: list[str] = []
        self.searches = 0
        self.compacts = asked.profile.compaction
        self._shown = asked.show_thinking == "yes"
        self._never = asked.profile.emit_thinking == "never"
        self._hidden: list[Thinking] | None = [] if asked.show_thinking == "no" else None
        """Reasoning nobody asked for, which a turn with calls needs back. None: it is written where it stands."""

    @property
    def stopped(self) -> str | None:
        """The stop sequence that was found, which the upstream did not look for."""
        return self.speech.matched if self.speech else None

    def thought(self) -> Thinking:
        """The block of a reasoning item, in its place."""
        block = Thinking(shown=self._shown)
        if self._hidden is None:
            self.blocks.push(block, 0)
        else:
            self._hidden.append(block)
        return block

    def expect_call(self) -> None:
        if self._never:
            return
        hidden, self._hidden = self._hidden or [], None
        for block in hidden:
            self.blocks.push(block, 0)

    def grow(self, text: str) -> None:
        """A block has more to say."""
        self.account.add(text)
        self.blocks.advance(len(text))
