"""The package cel-python, an implementation of CEL by others, is asked the same questions."""

from datetime import datetime
from functools import cache
from typing import Any

import celpy
from celpy import celtypes
from celpy.adapter import json_to_cel
from celpy.evaluation import CELEvalError

Json = dict[str, Any]

# Where the two differ, and who is right by https://github.com/google/cel-spec/blob/master/doc/langdef.md.
DIFFERENCES: dict[str, str] = {
    "jwt.n == 3.0": "it cannot compare an integer with a float; CEL can since its numbers are one line",
    "model in jwt.org": "it looks for a part of the text, as Python does; CEL knows no `in` for texts",
    "request.time > timestamp(jwt.nbf)": "it makes no timestamp of seconds; CEL does",
}


def verdict(text: str, values: Json) -> bool | None:
    """As Rule.evaluate. `values`: as `policy.variables` names them."""
    try:
        answer = _program(text).evaluate({name: _cel(value) for name, value in _nested(values).items()})
    except CELEvalError:
        return None
    return bool(answer) if isinstance(answer, celtypes.BoolType) else None


@cache
def _program(text: str) -> celpy.Runner:
    environment = celpy.Environment()
    return environment.program(environment.compile(text))


def _nested(values: Json) -> Json:
    """It has no names with dots in them; members of a map read the same."""
    found: Json = {}
    for name, value in values.items():
        head, _, member = name.partition(".")
        if member:
            found.setdefault(head, {})[member] = value
        else:
            found[head] = value
    return found


def _cel(value: Any) -> Any:
    match value:
        case datetime():
            return celtypes.TimestampType(value)
        case dict():
            return celtypes.MapType({celtypes.StringType(key): _cel(member) for key, member in value.items()})
        case list():
            return celtypes.ListType([_cel(member) for member in value])
        case _:
            return json_to_cel(value)
