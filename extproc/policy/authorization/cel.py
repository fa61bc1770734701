"""CEL rules (https://cel.dev): compiled and type-checked once, against the variables that they may name."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from cel_expr_python import cel

from extproc.config import hints
from extproc.config.faults import Fault, Where

Activation = cel.Activation
Values = dict[str, Any]


class Part(StrEnum):
    """Variables that become known together."""

    CALLER = "caller"
    REQUEST = "request"
    SOURCE = "source"
    PROVIDER = "provider"
    MODEL = "model"
    LLM = "llm"
    AGENT = "agent"
    ANSWER = "answer"


class Variable(NamedTuple):
    name: str
    type: str
    """In CEL's words."""
    part: Part
    meaning: str


class Rule:
    """One boolean expression."""

    __slots__ = ("_program", "claims", "reads", "text", "where")

    def __init__(self, text: str, where: Where, program: cel.Expression, reads: frozenset[Part]) -> None:
        self.text = text
        self.where = where
        self.reads = reads
        """The parts whose variables it names."""
        self.claims = claims_named(text) if Part.CALLER in reads else frozenset()
        """The claims it can read; None: any."""
        self._program = program

    def evaluate(self, seen: Activation) -> bool | None:
        """None: the expression failed, for instance because a claim it names is not there."""
        answer = self.answer(seen)
        return answer if isinstance(answer, bool) else None

    def text_value(self, seen: Activation) -> str:
        """Returns the value of an expression that gives a string; empty if it failed."""
        try:
            value = self._program.eval(seen)
        except RuntimeError:
            return ""
        return str(value.value()) if value.type() == cel.Type.STRING else ""

    def optional_text(self, seen: Activation) -> str | None:
        """Returns the value of an expression that gives a string or null. Raises ValueError where it gives neither."""
        try:
            value = self._program.eval(seen)
        except RuntimeError as error:
            raise ValueError(str(error)) from None
        kind: Any = value.type()
        if kind == cel.Type.NULL:
            return None
        if kind != cel.Type.STRING:
            raise ValueError(f"gives {kind.name()}, expected string")
        return str(value.value())

    def answer(self, seen: Activation) -> bool | str:
        """As `evaluate`, or why it failed."""
        try:
            value = self._program.eval(seen)
        except RuntimeError as error:  # a value that CEL cannot hold, such as half a surrogate pair
            return str(error)
        kind: Any = value.type()
        if kind == cel.Type.BOOL:
            return bool(value.value())
        return str(value.value()) if kind == cel.Type.ERROR else f"gives {kind.name()}, expected bool"


class Language:
    """CEL with the variables that the rules of one section of `gateway.yaml` may name."""

    def __init__(self, variables: Sequence[Variable]) -> None:
        # CEL lets a variable's name hold dots. So each member has a type of its own, and an unknown one is a fault.
        self._types = {variable.name: (variable.part, cel.Type(variable.type)) for variable in variables}
        self._whole = self._environment()
        parts = {variable.part for variable in variables}
        self._without = {part: self._environment(without=part) for part in parts}
        # Where a variable is no map, CEL would read `has(llm.stream)` as `llm.stream`.
        dotted = "|".join(re.escape(name) for name in self._types if "." in name)
        self._has = re.compile(rf"\bhas\s*\(\s*({dotted})\s*\)")

    def activation(self, values: Values) -> Activation:
        """For any number of rules; values are read when a rule asks for them."""
        return self._whole.Activation(values)

    def compile(self, text: str, where: Where, expected: cel.Type = cel.Type.BOOL) -> Rule | Fault:
        """The rule, or what is wrong with its text. `where`: its place in `gateway.yaml`; `expected`: what it gives."""
        if called := self._has.search(text):
            return Fault(where, f"has() is for a member of a map, such as jwt.team; {called[1]} is none")
        program = _compile(self._whole, text)
        if isinstance(program, str):
            return Fault(where, f"not a valid CEL expression: {program}{hints.for_cel(text, program, self._types)}")
        result = program.return_type()
        if result not in (expected, cel.Type.DYN):
            return Fault(where, f"the expression gives {result.name()}, expected {expected.name().lower()}")
        # What it does not read, it can do without.
        reads = frozenset(part for part, rest in self._without.items() if isinstance(_compile(rest, text), str))
        return Rule(text, where, program, reads)

    def compile_text(self, text: str, where: Where) -> Rule | Fault:
        """As `compile`, for an expression that gives a string."""
        return self.compile(text, where, cel.Type.STRING)

    def _environment(self, without: Part | None = None) -> cel.Env:
        return cel.NewEnv(variables={name: kind for name, (part, kind) in self._types.items() if part is not without})


def _compile(environment: cel.Env, text: str) -> cel.Expression | str:
    try:
        return environment.compile(text)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        return first.removeprefix("INVALID_ARGUMENT: ERROR: <input>:").removesuffix(" (in container '')")


# Raw and triple-quoted strings, comments and quoted identifiers are not read here, and might hide a `jwt`.
_UNREAD = r"""[rR][bB]?["']|[bB][rR]["']|"{3}|'{3}|//|`"""
_STRING = r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'"""
_TOKEN = re.compile(rf"(?P<unread>{_UNREAD})|{_STRING}|[A-Za-z_]\w*|\S", re.ASCII)


def claims_named(text: str) -> frozenset[str] | None:
    """The claims that a valid expression can read; None where that is not known, so that it may be any.

    `jwt.NAME`, `jwt["NAME"]` and `"NAME" in jwt` are understood."""
    matches = list(_TOKEN.finditer(text))
    if any(match["unread"] for match in matches):
        return None
    words = ["(", "(", "(", *(match.group() for match in matches)]
    names = [_claim_named(words[at - 3 : at], words[at + 1 : at + 4]) for at, word in enumerate(words) if word == "jwt"]
    known = frozenset(name for name in names if name is not None)
    return known if None not in names else None


def _claim_named(before: list[str], after: list[str]) -> str | None:
    """The claim that is read where `jwt` stands between these words."""
    match after:
        case [".", name, *rest] if name.isidentifier() and rest[:1] != ["("]:
            return name if before[-1] != "." else None
        case ["[", literal, "]"] if before[-1] != ".":
            return _plain(literal)
        case [("." | "["), *_]:
            return None
        case _:
            # Before the string nothing may bind closer than `in` does.
            stands_alone = before[-1] == "in" and before[-3] in ("(", "[", "{", ",", "?", ":", "&", "|")
            return _plain(before[-2]) if stands_alone else None


def _plain(literal: str) -> str | None:
    """The value of a string literal without escapes; None for any other token."""
    return literal[1:-1] if literal[0] in "\"'" and len(literal) > 1 and "\\" not in literal else None
