"""Types of the members of a request that `defaults` and `overrides` may set, in any of the three APIs."""

from collections.abc import Callable
from typing import Any

Check = Callable[[Any], bool]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _instance(kind: type) -> Check:
    return lambda value: isinstance(value, kind)


_KINDS: tuple[tuple[str, Check, tuple[str, ...]], ...] = (
    (
        "a whole number",
        _whole,
        ("max_tokens", "max_completion_tokens", "max_output_tokens", "n", "seed", "top_k", "top_logprobs"),
    ),
    ("a number", _number, ("temperature", "top_p", "min_p", "frequency_penalty", "presence_penalty")),
    ("true or false", _instance(bool), ("logprobs", "parallel_tool_calls", "store", "stream")),
    ("a text", _instance(str), ("reasoning_effort", "service_tier", "system_fingerprint", "user", "verbosity")),
    ("a text or a list of texts", _texts, ("stop", "stop_sequences")),
    (
        "a mapping",
        _instance(dict),
        ("metadata", "output_config", "reasoning", "response_format", "stream_options", "text", "thinking"),
    ),
)


def typed(members: dict[str, Any]) -> dict[str, Any]:
    """Members that are not known here go to the provider as they are. A number may come from a variable of the
    environment, as text. Raises ValueError."""
    found = dict(members)
    for wanted, check, names in _KINDS:
        for name in names:
            if name in found and found[name] is not None:
                found[name] = _from_variable(found[name]) if "number" in wanted else found[name]
                if not check(found[name]):
                    raise ValueError(f"{name}: expected {wanted}")
    return found


def _from_variable(value: Any) -> Any:
    try:
        return (int(value) if value.isdecimal() else float(value)) if isinstance(value, str) else value
    except ValueError:
        return value
