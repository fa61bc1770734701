"""What a call is given, as text."""

from typing import Any

import msgspec

from extproc.wire import untrusted


def written(input: Any) -> str:
    """Clients parse it, so a call without any still has an object."""
    try:
        return msgspec.json.encode(input).decode() if isinstance(input, dict) else "{}"
    except RecursionError:
        return "{}"


def compact(arguments: str) -> str:
    """A call that was cut short stays as it is."""
    value = decoded(arguments)
    return arguments if value is None else msgspec.json.encode(value).decode()


def free_text(arguments: str) -> str:
    """Of a custom tool, whose input is one member of an object (`toolbox`)."""
    value = decoded(arguments)
    text = value.get("input") if isinstance(value, dict) else None
    return text if isinstance(text, str) else arguments


def decoded(arguments: str) -> Any:
    """None where it is no JSON."""
    try:
        return untrusted.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return None
