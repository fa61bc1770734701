"""What a Messages client knows a tool call by: its id and its name."""

from extproc.translate.for_messages.asked import Asked
from extproc.translate.names import client_id, made_id
from extproc.translate.pair import Json


class CallNames:
    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._ids: set[str] = set()
        self._times: dict[str, int] = {}
        """How often the upstream gave an id."""
        self._made = 0
        self.given = 0
        """Calls the client has been shown."""
        self.cut = 0
        """Calls that the model has not finished."""

    def make_id(self) -> str:
        self._made += 1
        return made_id("toolu_", self._asked.nonce, self._made)

    def block(self, id: str, name: str) -> Json:
        """The block that opens a call, from the upstream's id and name of it."""
        self.given += 1
        toolset = self._asked.toolsets.get(name)
        named = self._asked.original_names.get(name, name)
        start: Json = {"type": "tool_use", "id": self._unique_id(id), "name": named, "input": {}}
        if toolset is not None:
            start |= {"name": toolset[1], "toolset_name": toolset[0], "caller": {"type": "direct"}}
        return start

    def cut_call(self, id: str, shown: Json | None) -> str:
        """Counts a call that was cut; returns its id. `shown`: its block, if the client has seen that."""
        self.cut += 1
        return str(shown["id"]) if shown is not None else self._unique_id(id)

    def _unique_id(self, id: str) -> str:
        wanted = client_id(id) if id else self.make_id()
        unique, n = wanted, self._times.get(wanted, 1)
        while unique in self._ids:
            n += 1
            unique = f"{wanted}_{n}"
        self._times[wanted] = n
        self._ids.add(unique)
        return unique
