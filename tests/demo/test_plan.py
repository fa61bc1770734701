from typing import Any

import pytest

from extproc.demo.plan import Plan, plan
from extproc.demo.script import Call, Step

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "unit"],
}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}


def body(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": list(messages) or [{"role": "user", "content": "hi"}], **more}


def test_default_names_itself_and_quotes_the_end() -> None:
    said = plan(body({"role": "user", "content": "x" * 300 + "end"}), None)
    assert said.text == f'Hello from the demo model, called as gpt-4o-mini. You wrote: "{"x" * 197}end"'
    assert said.finish == "stop"


def test_only_what_a_person_wrote_is_quoted() -> None:
    asked = "<system-reminder>\nbe good\n</system-reminder>\n\nhello\n\n<system-reminder>x</system-reminder>"
    assert plan(body({"role": "user", "content": asked}), None).text.endswith('You wrote: "hello"')


def test_tool_results_are_read_back() -> None:
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [{}]},
        {"role": "tool", "content": "sunny"},
        {"role": "tool", "content": [{"type": "text", "text": "y" * 600}]},
        {"role": "user", "content": [{"type": "text", "text": "reminder"}, {"type": "image_url"}]},
    ]
    assert plan(body(*turns), None).text == "Tool result: sunny\n" + "y" * 494
    assert plan(body(*turns[:3], turns[4]), None).text == "Tool result: sunny\n[image_url]"


def test_parallel_calls_and_undeclared_ones() -> None:
    step = Step(calls=[Call("get_weather", "{}"), Call("Bash", "{}"), Call("get_weather", '{"city":1}')])
    assert plan(body(tools=[WEATHER]), step) == Plan(
        "There is no tool Bash here.", "", (step.calls[0], step.calls[2]), "tool_calls"
    )
    nothing = plan(body(tools=[WEATHER], tool_choice="none"), step)
    assert (nothing.calls, nothing.finish) == ((), "stop")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_forced_tool_is_called(choice: object) -> None:
    said = plan(body(tools=[WEATHER], tool_choice=choice), None)
    assert said == Plan("", "", (Call("get_weather", '{"city":"demo","unit":"C"}'),), "tool_calls")


def test_json_is_answered_when_asked_for() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "t", "schema": SCHEMA}}
    assert plan(body(response_format=wanted), None).text == '{"city":"demo","unit":"C"}'
    assert plan(body(response_format=wanted), Step(says=['{"a":1}'])).text == '{"a":1}'
    assert plan(body(response_format={"type": "json_object"}), None).text == "{}"


def test_length() -> None:
    assert plan(body(), Step(says=["cut"], length=True)).finish == "length"


@pytest.mark.parametrize(("transcript", "grade"), [("ls", "1"), ("rm -rf x # severity=90", "90")])
def test_the_check_of_auto_mode_gets_a_grade(transcript: str, grade: str) -> None:
    asked = f"<transcript>{transcript}</transcript>\nRespond with <severity>N</severity> ONLY."
    assert plan(body({"role": "user", "content": asked}), None).text == f"<severity>{grade}</severity>"
