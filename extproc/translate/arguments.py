"""A tool call's arguments as the object that Messages clients need (mapping 2.5), and whether they were cut (2.3).

Text is safe to pass on when quotes and brackets alone would complete it, so that text which turns out to be no JSON
can still be handed over in a member of its own: Anthropic's SDK raises on arguments that are no prefix of JSON.
"""

import re
from typing import Any, NamedTuple

import msgspec

from extproc.translate.pair import Json
from extproc.wire import untrusted

RAW = "_raw_arguments"
MAX_DEPTH = 256
MAX_HELD = 64 * 1024
"""A key or a number longer than this is none that a tool has; reading it piece by piece would be quadratic."""

_BLANK = re.compile(r"[ \t\n\r]*")
# Half a surrogate pair, which JSON allows and UTF-8 cannot say, waits for its other half (RFC 8259, section 8.2).
_ESCAPE = (
    r'\\(?:["\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4}|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})'
)
_STRING = re.compile(rf'(?:[^"\\\x00-\x1f]+|{_ESCAPE})*+')
_LONGEST_ESCAPE = 12
_ATOM = re.compile(r"[-+.0-9a-zA-Z]*")
_BEGUN_ATOM = re.compile(
    r"t(?:r(?:ue?)?)?|f(?:a(?:l(?:se?)?)?)?|n(?:u(?:ll?)?)?|-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]*)?)?"
)
_VALID_ATOM = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_CLOSER = {"{": "}", "[": "]"}

# What may come next; names of the methods that read it.
_KEY_OR_END, _KEY, _COLON, _VALUE_OR_END, _VALUE, _NEXT = range(6)
_IN_KEY, _IN_STRING, _DONE, _BAD = range(6, 10)


class JsonPrefix:
    """Reads a JSON object as it arrives, and says how much of it is safe. Feed it the text from the first `{`."""

    def __init__(self) -> None:
        self._text = ""
        """Not yet passed on."""
        self._at = 0
        self._safe = 0
        self._state = _VALUE
        self._open: list[str] = []
        self._in_string = False
        self._empty = True
        """Nothing has been passed on that a further member would need a comma after."""

    @property
    def complete(self) -> bool:
        return self._state == _DONE

    @property
    def broken(self) -> bool:
        """No text can follow that would make JSON of it."""
        return self._state == _BAD

    @property
    def in_string(self) -> bool:
        """A part of a string has been passed on, and not its end."""
        return self._in_string

    def feed(self, text: str) -> str:
        """What became safe. The last brace is never among it: what follows may prove it wrong."""
        if self._state == _BAD:
            return ""
        self._text += text
        while self._state != _BAD and self._step():
            pass
        safe = self._text[: self._safe]
        self._text = self._text[self._safe :]
        self._at -= self._safe
        self._safe = 0
        if len(self._text) > MAX_HELD:
            self._state = _BAD
        return safe

    def close(self) -> str:
        """The last brace of a complete object."""
        return "}"

    def close_with(self, raw: str) -> str:
        """Completes the object with a member that holds all there was."""
        inner = "".join(_CLOSER[b] for b in reversed(self._open[1:]))
        comma = "" if self._empty else ","
        return f'{self._quote()}{inner}{comma}"{RAW}":{msgspec.json.encode(raw).decode()}}}'

    def _quote(self) -> str:
        return '"' if self._in_string else ""

    def _step(self) -> bool:
        """Reads one thing; False when the rest must wait for more text."""
        if self._state in {_IN_STRING, _IN_KEY}:
            return self._string()
        match = _BLANK.match(self._text, self._at)
        self._at = match.end() if match else self._at
        if self._at >= len(self._text):
            return False
        char = self._text[self._at]
        if self._state in {_VALUE, _VALUE_OR_END}:
            return self._value(char)
        return self._punctuation(char)

    def _punctuation(self, char: str) -> bool:
        state, self._state = self._state, _BAD
        if state in {_KEY, _KEY_OR_END} and char == '"':
            self._move(_IN_KEY)
        elif state == _COLON and char == ":":
            self._move(_VALUE)
        elif state == _NEXT and char == ",":
            self._move(_KEY if self._open[-1] == "{" else _VALUE)
        elif state in {_NEXT, _KEY_OR_END} and char == _CLOSER[self._open[-1]]:
            self._close_bracket()
        return True

    def _move(self, state: int) -> None:
        self._at += 1
        self._state = state

    def _pass(self) -> None:
        self._safe = self._at
        self._in_string = self._state == _IN_STRING

    def _close_bracket(self) -> None:
        if len(self._open) == 1:
            self._move(_DONE)
            return
        self._open.pop()
        self._move(_NEXT)
        self._pass()

    def _value(self, char: str) -> bool:
        if char == "]" and self._state == _VALUE_OR_END:
            self._close_bracket()
        elif char in _CLOSER:
            self._open_bracket(char)
        elif char == '"':
            self._move(_IN_STRING)
            self._pass()
            self._empty = False
        else:
            return self._atom()
        return True

    def _open_bracket(self, char: str) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._state = _BAD
            return
        self._empty = not self._open
        self._open.append(char)
        self._move(_KEY_OR_END if char == "{" else _VALUE_OR_END)
        self._pass()

    def _atom(self) -> bool:
        match = _ATOM.match(self._text, self._at)
        end = match.end() if match else self._at
        if end == len(self._text):
            if not _BEGUN_ATOM.fullmatch(self._text, self._at, end):
                self._state = _BAD
            return False
        if not _VALID_ATOM.fullmatch(self._text, self._at, end):
            self._state = _BAD
            return True
        self._at = end
        self._state = _NEXT
        self._pass()
        self._empty = False
        return True

    def _string(self) -> bool:
        match = _STRING.match(self._text, self._at)
        self._at = match.end() if match else self._at
        if self._state == _IN_STRING:
            self._pass()
        rest = self._text[self._at : self._at + _LONGEST_ESCAPE]
        if not rest or (rest[0] == "\\" and len(rest) < _LONGEST_ESCAPE and '"' not in rest[2:]):
            return False
        if rest[0] != '"':
            self._state = _BAD
            return True
        key = self._state == _IN_KEY
        self._move(_COLON if key else _NEXT)
        if not key:
            self._pass()
        return True


_FENCE = re.compile(r"```[a-zA-Z]*[ \t]*\n?")
_NOT_JSON = object()


class ToolInput(NamedTuple):
    value: Json
    meant: bool = True
    """False: no JSON, so the text stands in a member of its own."""
    cut: bool = False
    """The model has not finished the call, so no client may run it."""


def tool_input(arguments: Any, at_limit: bool = False) -> ToolInput:
    """The arguments as an object. `at_limit`: the answer ended at its token limit, or without saying why."""
    if not isinstance(arguments, str):
        return ToolInput({}, cut=at_limit) if arguments is None else _object(arguments)
    text = arguments.strip()
    # Many servers send one of these for a call without parameters, and Messages clients want an object (docs/mapping.md
    # 2.5).
    if text in {"", "null"}:
        return ToolInput({}, cut=at_limit and not text)
    # Some models write their arguments as a block of Markdown.
    inner = _unfenced(text)
    for candidate in (text, inner):
        value = _parsed(candidate)
        if value is not _NOT_JSON:
            return _object(value)
    return ToolInput({RAW: arguments}, meant=False, cut=at_limit or _is_prefix(inner or text))


def compact(value: Json) -> str:
    return msgspec.json.encode(value).decode()


def too_deep(value: Any) -> bool:
    """Nested further than an encoder would follow."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return True


def _children(item: Any) -> Any:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


def _object(value: Any) -> ToolInput:
    if isinstance(value, dict):
        return ToolInput(value)
    if not isinstance(value, str):
        # Anthropic's types allow nothing but an object as `input`.
        return ToolInput({"value": value})
    # Some servers encode the arguments twice, so that the JSON is a string of JSON.
    inner = _parsed(value)
    if isinstance(inner, dict):
        return ToolInput(inner)
    return ToolInput({"value": value}, cut=inner is _NOT_JSON and value.startswith("{") and _is_prefix(value))


def _parsed(text: str) -> Any:
    if not text:
        return _NOT_JSON
    try:
        value = untrusted.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _NOT_JSON
    return _NOT_JSON if too_deep(value) else value


def _unfenced(text: str) -> str:
    """What stands in a fence of Markdown, which models cut short may not have closed."""
    opened = _FENCE.match(text)
    return text[opened.end() :].removesuffix("```").rstrip() if opened else ""


def _is_prefix(text: str) -> bool:
    """More text could make JSON of it. The bracket makes any value a member."""
    prefix = JsonPrefix()
    prefix.feed("[" + text)
    return not prefix.broken
