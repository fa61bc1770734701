from typing import Any

import pytest

from tests.translate.asking import ask, body, refusal, sent, target

OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}


def wanted(schema: Any) -> dict[str, Any]:
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def test_not_strict() -> None:
    asked = body(**wanted(OPEN))
    sent_schema = sent(asked)["response_format"]["json_schema"]
    assert sent_schema == {"name": "output", "schema": OPEN, "strict": False}
    assert ask(asked).warnings == ("approx:output_config.format",)


def test_old_place() -> None:
    asked = body(output_format={"type": "json_schema", "schema": OPEN})
    assert sent(asked)["response_format"]["type"] == "json_schema"
    assert ask(asked).warnings == ("approx:output_format",)


@pytest.mark.parametrize(("mode", "form"), [("json_object", {"type": "json_object"}), ("prompt", None)])
def test_emulated(mode: str, form: Any) -> None:
    to = target(structured_output=mode)
    found = sent(body(system="s", **wanted(OPEN)), to)
    assert found.get("response_format") == form
    assert found["messages"][0]["content"].startswith("s\n\nAnswer with JSON")
    assert found["messages"][0]["content"].endswith('{"type":"object","properties":{"a":{"type":"string"}}}')
    assert ask(body(**wanted(OPEN)), to).warnings == ("emulated:output_config.format",)


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type: Input"),
        ({"output_config": {"format": 7}}, "output_config.format: Input"),
        (wanted(None), "output_config.format.schema: Field required"),
        ({"output_format": {"schema": {}}}, "output_format.type: Field required"),
    ],
)
def test_refused(members: dict[str, Any], problem: str) -> None:
    assert refusal(body(**members)).startswith(problem)
