import json
from typing import Any

from tests.translate.asking import ask, assistant, body, call, result, sent, target, text, user


def test_names_of_the_history_are_remembered() -> None:
    name = "x" * 30
    calls = assistant(call("toolu_1", name), call("toolu_2", "zoom", toolset_name="browser"))
    asked = ask(body(messages=[user(text("q")), calls, user(result("toolu_1"), result("toolu_2"))]), _short())
    short, zoom = (c["function"]["name"] for c in json.loads(asked.body)["messages"][1]["tool_calls"])
    assert len(short) == 20
    assert asked.names == {short: name, zoom: "browser__zoom"}
    assert asked.shape.namespaces == {"browser__zoom": ("browser", "zoom")}


def _short() -> Any:
    return target(tool_name_max=20)


def test_only_the_last_cache_hints_stay() -> None:
    texts = [text(str(n), cache_control={"type": "ephemeral"}) for n in range(5)]
    given = body(messages=[user(*texts, text("x", cache_control="x"))])
    parts = sent(given, target(map_cache_control=True))["messages"][0]["content"]
    assert ["prompt_cache_breakpoint" in part for part in parts] == [False, True, True, True, True, False]
