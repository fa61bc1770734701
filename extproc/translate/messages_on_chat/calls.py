"""Which tool call a fragment belongs to, and what a call is named (mapping 3.5)."""

from collections.abc import Callable
from typing import Any

from extproc.translate.for_messages.asked import Asked
from extproc.translate.for_messages.blocks_out import ToolBlock
from extproc.translate.for_messages.call_names import CallNames
from extproc.wire.chat import ToolCall


class Calls:
    def __init__(self, asked: Asked, warn: Callable[[str], None]) -> None:
        self.names = CallNames(asked)
        self._warn = warn
        self._by_key: dict[int | str, ToolBlock] = {}
        self._by_id: dict[str, ToolBlock] = {}
        self._last: ToolBlock | None = None

    def find(self, key: int | str | None, fragment: ToolCall, arguments: Any) -> tuple[ToolBlock, bool]:
        """The call, and whether it is new."""
        call_id, name = fragment.id or "", fragment.named
        block = self._known(key, call_id, name, arguments)
        new = block is None
        if block is None:
            block = ToolBlock(self.names, self._warn)
            block.custom = fragment.is_custom
        block.call_it(call_id, name)
        if key is not None:
            self._by_key[key] = block
        if call_id:
            self._by_id[call_id] = block
        self._last = block
        return block, new

    def fixed_id(self, block: ToolBlock) -> str:
        """The id as upstream, made up now if none has come."""
        if not block.id:
            block.id = self.names.make_id()
        return block.id

    def _known(self, key: int | str | None, id: str, name: str, arguments: Any) -> ToolBlock | None:
        if key is not None:
            block = self._by_key.get(key)
            return None if block is None or _is_another(block, id, name, arguments) else block
        if id in self._by_id:
            return self._by_id[id]
        return None if id or name else self._last


def _is_another(block: ToolBlock, id: str, name: str, arguments: Any) -> bool:
    """Some servers put every call on index 0: a new one shows by its id, or by arguments after complete ones."""
    if not name or (id and id == block.id):
        return False
    return bool(id and block.id) or (block.complete and bool(arguments) and not str(arguments).isspace())
