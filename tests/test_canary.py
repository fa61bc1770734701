from tests.canary import Tried, differences, outcomes
from tests.e2e.shapes import names

REPORT = """<testsuites><testsuite>
<testcase classname="tests.e2e.test_a" name="test_x[2.1.332]" />
<testcase classname="tests.e2e.test_a" name="test_y[2.1.332-1]">
<failure message="assert 1 == 2&#10;more">...</failure></testcase>
<testcase classname="tests.e2e.test_a" name="test_z"><error message="no such file">...</error></testcase>
</testsuite></testsuites>"""


def test_outcomes_without_their_versions() -> None:
    assert outcomes(REPORT, ["2.1.332"]) == {
        "test_a::test_x[VERSION]": "",
        "test_a::test_y[VERSION-1]": "assert 1 == 2",
        "test_a::test_z": "no such file",
    }


def test_what_differs() -> None:
    pinned = Tried({"a": "", "b": "broken", "c": "", "d": "broken"}, {"beta x", "beta y"})
    newest = Tried({"a": "bad", "b": "", "c": "", "d": "broken", "e": "new and bad"}, {"beta y", "beta z"})
    assert differences(pinned, newest) == [
        "FAILS NOW  a: bad",
        "works now  b",
        "FAILS NOW  e: new and bad",
        "sent now   beta z",
        "not sent   beta x",
    ]
    assert differences(pinned, pinned) == []


def test_names_of_what_is_sent() -> None:
    body = '{"model": "m", "thinking": {"type": "x"}, "tools": [{"name": "Bash", "input_schema": {}}], "messages": '
    body += '[{"role": "user", "content": [{"type": "text", "text": "secret"}]}]}'
    request = {"method": "POST", "path": "/v1/messages", "headers": [["anthropic-beta", "a, b"]], "body": body}
    assert set(names(request)) == {
        "request POST /v1/messages", "header anthropic-beta", "beta a", "beta b", "member model", "member thinking",
        "member thinking.type", "member tools", "tool Bash", "member tools.name", "member tools.input_schema",
        "member messages", "role user", "block text",
    }  # fmt: skip
    assert set(names({**request, "body": ""})) == {
        "request POST /v1/messages",
        "header anthropic-beta",
        "beta a",
        "beta b",
    }
