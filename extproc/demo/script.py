"""Directives in a conversation, so that a real client can be driven without state in the model.

The last user message with lines that begin with `demo:` holds the script; `demo: then` parts its steps. The step to
play is the number of assistant messages after that message: a tool loop moves on by itself.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

Message = dict[str, Any]

LINE = re.compile(r"^[ \t]*demo:[ \t]*(\S.*?)\s*$", re.MULTILINE)
OPTION = re.compile(r"(retry-after|times|code|message)=(.*)")


class Call(msgspec.Struct, frozen=True):
    name: str
    arguments: str
    """Raw, also when it is not JSON: models do that, too."""


class Fault(msgspec.Struct, frozen=True):
    """A way to answer wrongly: `fail`, `break`, `truncate`, `reset`, `html` or `json`."""

    kind: str
    line: str
    """The line as written, by which `times` is counted."""
    status: int = 0
    times: int | None = None
    """Number of requests that it affects; None: all."""
    retry_after: str = ""
    code: str = ""
    message: str = ""


class Step(msgspec.Struct):
    says: list[str] = []
    thoughts: list[str] = []
    calls: list[Call] = []
    faults: list[Fault] = []
    silent: float = 0.0
    slow: float = 0.0
    length: bool = False


def text_of(content: object) -> str:
    """Returns the text of a message's content, with `[type]` for other parts, such as `[image_url]`."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n\n".join(_part(part) for part in parts if isinstance(part, dict))


def _part(part: Message) -> str:
    return str(part.get("text", "")) if part.get("type") == "text" else f"[{part.get('type')}]"


def step(messages: Sequence[Message]) -> Step | None:
    """Returns the step to play now; None if there is no script, or if it is over."""
    played = 0
    for message in reversed(messages):
        if message.get("role") == "assistant":
            played += 1
        elif message.get("role") == "user" and (lines := LINE.findall(text_of(message.get("content")))):
            steps = parse(lines)
            return steps[played] if played < len(steps) else None
    return None


def parse(lines: Sequence[str]) -> list[Step]:
    steps = [Step()]
    for line in lines:
        verb, _, rest = line.partition(" ")
        if verb == "then":
            steps.append(Step())
            continue
        try:
            VERBS[verb](steps[-1], rest.strip(), line)
        except (KeyError, ValueError):
            steps[-1].says.append(f"The demo model does not understand this directive: {line}")
    return steps


def _call(step: Step, rest: str, _: str) -> None:
    name, _, arguments = rest.partition(" ")
    step.calls.append(Call(name, arguments.strip() or "{}"))


def _fault(kind: str) -> Callable[[Step, str, str], None]:
    def add(step: Step, rest: str, line: str) -> None:
        step.faults.append(_with_options(kind, 0, rest, line))

    return add


def _failure(kind: str) -> Callable[[Step, str, str], None]:
    """`fail`: an error instead of an answer; `break`: one in the middle of a stream."""

    def add(step: Step, rest: str, line: str) -> None:
        status, _, options = rest.partition(" ")
        if not 300 <= int(status) <= 599:
            raise ValueError(status)
        step.faults.append(_with_options(kind, int(status), options, line))

    return add


def _with_options(kind: str, status: int, rest: str, line: str) -> Fault:
    head, mark, message = rest.partition("message=")
    options = {"message": message.strip()} if mark else {}
    for word in head.split():
        if (match := OPTION.fullmatch(word)) is None:
            raise ValueError(word)
        options[match[1].replace("-", "_")] = match[2]
    times = options.pop("times", None)
    return Fault(kind, line, status, None if times is None else int(times), **options)


VERBS: dict[str, Callable[[Step, str, str], None]] = {
    "say": lambda step, rest, _: step.says.append(rest),
    "think": lambda step, rest, _: step.thoughts.append(rest),
    "call": _call,
    "fail": _failure("fail"),
    "break": _failure("break"),
    "truncate": _fault("truncate"),
    "reset": _fault("reset"),
    "html": _fault("html"),
    "json": _fault("json"),
    "silent": lambda step, rest, _: setattr(step, "silent", float(rest)),
    "slow": lambda step, rest, _: setattr(step, "slow", float(rest) / 1000),
    "length": lambda step, *_: setattr(step, "length", True),
}
