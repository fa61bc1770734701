"""Turns of a conversation: neighbours of one role are one turn."""

from extproc.translate.pair import Json

THINKING = frozenset(("thinking", "redacted_thinking"))


class Turn:
    __slots__ = ("blocks", "path", "results", "role")

    def __init__(self, role: str, path: str, blocks: list[Json]) -> None:
        self.role = role
        self.path = path
        """Of its first message; empty: made here."""
        self.blocks = blocks
        self.results: list[Json] = []
        """User: results of tools, which stand before everything else."""

    def has_calls(self) -> bool:
        return any(block["type"] == "tool_use" for block in self.blocks)

    def has_thinking(self) -> bool:
        return any(block["type"] in THINKING for block in self.blocks)

    def drop_last_thoughts(self) -> None:
        """Anthropic refuses a turn that ends with thinking."""
        while self.blocks and self.blocks[-1]["type"] in THINKING:
            self.blocks.pop()

    def message(self, *, thinks: bool) -> Json:
        blocks = self.results + self.blocks
        if not thinks:
            blocks = [block for block in blocks if block["type"] not in THINKING]
        only = blocks[0] if len(blocks) == 1 else {}
        if only.get("type") == "text" and "cache_control" not in only:
            return {"role": self.role, "content": only["text"]}
        return {"role": self.role, "content": blocks}


def add(turns: list[Turn], turn: Turn) -> None:
    """Appends, or joins the last turn of its role."""
    if turns and turns[-1].role == turn.role:
        turns[-1].results += turn.results
        turns[-1].blocks += turn.blocks
    else:
        turns.append(turn)
