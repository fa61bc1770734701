"""Decides what the demo model answers: the step of the script, or a short friendly sentence."""

import re
from typing import Any

import msgspec

from extproc.demo.script import Call, Message, Step, text_of
from extproc.demo.shape import example

REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
"""Claude Code wraps what a person wrote in these."""


SEVERITY = re.compile(r"severity=(\d+)")
"""Claude Code's auto mode asks a model to grade each action before it runs; a script says the grade in the action."""


class Plan(msgspec.Struct, frozen=True):
    text: str
    thought: str
    calls: tuple[Call, ...]
    finish: str


def plan(body: dict[str, Any], step: Step | None) -> Plan:
    if step is None or not (step.says or step.thoughts or step.calls):
        calls, unknown = _forced(body), []
        text = "" if calls else default_text(body["model"], body["messages"])
    else:
        names = declared(body)
        calls = tuple(call for call in step.calls if call.name in names)
        unknown = [call.name for call in step.calls if call.name not in names]
        text = "\n".join(step.says + [f"There is no tool {name} here." for name in unknown])
    finish = "length" if step and step.length else "tool_calls" if calls else "stop"
    return Plan(_formatted(body, text), "\n".join(step.thoughts) if step else "", calls, finish)


def declared(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the functions that may be called, by name."""
    if body.get("tool_choice") == "none":
        return {}
    functions = [tool["function"] for tool in body.get("tools") or [] if tool.get("type") == "function"]
    return {function["name"]: function for function in functions}


def default_text(model: str, messages: list[Message]) -> str:
    if result := last_result(messages):
        return f"Tool result: {result[:500]}"
    prompt = next((text_of(m.get("content")) for m in reversed(messages) if m["role"] == "user"), "")
    if "<severity>N</severity>" in prompt:
        grade = SEVERITY.search(prompt)
        return f"<severity>{grade[1] if grade else 1}</severity>"
    own = REMINDER.sub("", prompt).strip()
    quoted = f' You wrote: "{own[-200:]}"' if own else ""
    return f"Hello from the demo model, called as {model}.{quoted}"


def last_result(messages: list[Message]) -> str:
    """Text of the tool messages after the last assistant message, and the kinds of parts that came along as user's."""
    results: list[str] = []
    parts: list[str] = []
    for message in messages:
        if message["role"] == "assistant":
            results, parts = [], []
        elif message["role"] == "tool":
            results.append(text_of(message.get("content")))
        elif isinstance(content := message.get("content"), list):
            parts += [f"[{part['type']}]" for part in content if part["type"] != "text"]
    return "\n".join(results + parts) if results else ""


def _forced(body: dict[str, Any]) -> tuple[Call, ...]:
    """Returns the call that a forced tool choice demands, with example arguments."""
    choice, functions = body.get("tool_choice"), declared(body)
    if isinstance(choice, dict):
        function = functions.get(str((choice.get("function") or {}).get("name")))
    else:
        function = next(iter(functions.values()), None) if choice == "required" else None
    if function is None or last_result(body["messages"]):
        return ()
    arguments = msgspec.json.encode(example(function.get("parameters", {})))
    return (Call(function["name"], arguments.decode()),)


def _formatted(body: dict[str, Any], text: str) -> str:
    """Returns text that fits `response_format`: the script's own if it is JSON, else an example of the schema."""
    response_format = body.get("response_format") or {}
    if response_format.get("type") not in ("json_schema", "json_object") or not text:
        return text
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        schema = (response_format.get("json_schema") or {}).get("schema") or {"type": "object"}
        return msgspec.json.encode(example(schema)).decode()
    return text
