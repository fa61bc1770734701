"""A call for a Messages client, whose input must be an object (docs/mapping.md 2.3, 2.5, 3.5)."""

import msgspec

from extproc.translate.arguments import compact, tool_input
from extproc.translate.dialects.messages.write_output import Output
from extproc.translate.json_prefix import JsonPrefix
from extproc.translate.pair import Json

_OPENING = '{"input":"'


class CallBlock:
    """In a stream the arguments go out as far as they are safe: Anthropic's SDK raises on arguments that are no
    beginning of JSON. A cut call is never completed: in a stream its arguments end where the model's ended, in a
    message it is left out."""

    def __init__(self, out: Output, block: Json, warnings: list[str], *, is_free_text: bool) -> None:
        """`is_free_text`: the arguments of a custom tool, which become the one member of an object."""
        self._out = out
        self._block = block
        self._warnings = warnings
        self._is_free_text = is_free_text
        self._is_open = False
        self._arguments: list[str] = []
        self._prefix: JsonPrefix | None = None
        """Set where the arguments look like an object."""

    def add(self, text: str) -> None:
        self._arguments.append(text)
        if not self._out.is_live:
            return
        if self._is_free_text:
            opening = "" if self._is_open else _OPENING
            self._write(opening + _escaped(text))
            return
        if len(self._arguments) == 1 and text[:1] == "{":
            self._prefix = JsonPrefix()
        if self._prefix is not None:
            self._write(self._prefix.feed(text))

    def close(self, *, cut: bool) -> bool:
        """Returns whether the client has got the whole call."""
        if self._prefix is not None and self._prefix.broken and self._prefix.in_string:
            # No JSON, and the client has half of a value already.
            self._warn_invalid()
            self._warnings.append(f"incomplete_tool_call:{self._block['id']}")
            cut = True
        if not cut:
            self._write(self._rest())
        if self._is_open:
            self._out.stop()
        return not cut

    def _write(self, text: str) -> None:
        if not self._is_open:
            self._is_open = True
            self._out.open(self._block)
        if text:
            self._out.delta("input_json_delta", text)

    def _rest(self) -> str:
        arguments = "".join(self._arguments)
        if self._is_free_text:
            opening = "" if self._is_open else _OPENING + _escaped(arguments)
            return f'{opening}"}}'
        if self._prefix is None:
            found = tool_input(arguments)
            if not found.meant:
                self._warn_invalid()
            return compact(found.value) if found.value else ""
        if self._prefix.complete:
            return self._prefix.close()
        self._warn_invalid()
        return self._prefix.close_with(arguments)

    def _warn_invalid(self) -> None:
        self._warnings.append(f"invalid_tool_arguments:{self._block['id']}")


def _escaped(text: str) -> str:
    return msgspec.json.encode(text).decode()[1:-1]
