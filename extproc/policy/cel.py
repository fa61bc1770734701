"""CEL rules (https://cel.dev): the variables they see, compiled and type-checked once."""

from collections.abc import Mapping
from typing import Any

from cel_expr_python import cel

from extproc.config import Fault, Where

_CLAIMS = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
_EARLY = {"jwt": _CLAIMS, "request": _CLAIMS}
_LATE = {
    **_EARLY,
    "model": cel.Type.STRING,
    "provider": cel.Type.STRING,
    "upstream_model": cel.Type.STRING,
}
_EARLY_ENV = cel.NewEnv(variables=_EARLY)
_LATE_ENV = cel.NewEnv(variables=_LATE)


Seen = cel.Activation


def prepared(variables: Mapping[str, Any]) -> Seen:
    """For any number of rules; values are read when a rule asks for them."""
    return _LATE_ENV.Activation(variables)


class Rule:
    """One boolean expression. `early`: it needs nothing of the request's body."""

    __slots__ = ("_program", "early", "text")

    def __init__(self, text: str, program: cel.Expression, early: bool) -> None:
        self.text = text
        self._program = program
        self.early = early

    def evaluate(self, seen: Seen) -> bool | None:
        """None: the expression failed, for instance because a claim it names is not there."""
        try:
            value = self._program.eval(seen)
        except RuntimeError:  # a value that CEL cannot hold, such as half a surrogate pair
            return None
        return bool(value.value()) if value.type() == cel.Type.BOOL else None


def compile_rule(text: str, where: Where) -> Rule | Fault:
    early = _compile(_EARLY_ENV, text)
    program = early if not isinstance(early, str) else _compile(_LATE_ENV, text)
    if isinstance(program, str):
        return Fault(where, f"not a valid CEL expression: {program}")
    result = program.return_type()
    if result not in (cel.Type.BOOL, cel.Type.DYN):
        return Fault(where, f"the expression gives {result.name()}, expected bool")
    return Rule(text, program, early=program is early)


def _compile(env: cel.Env, text: str) -> cel.Expression | str:
    try:
        return env.compile(text)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        return first.removeprefix("INVALID_ARGUMENT: ERROR: <input>:").removesuffix(" (in container '')")
