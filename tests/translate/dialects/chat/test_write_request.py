import pytest

from extproc.errors import Rejection
from tests.translate.answers import messages_on_chat
from tests.translate.asking import ask, body, call, refusal, result, sent, target, text, tool, user


def test_what_reading_the_answer_needs() -> None:
    long = "mcp__" + "x" * 80
    asked = ask(
        body(
            messages=[
                user(text("q")),
                {
                    "role": "assistant",
                    "content": [call(name="old.name"), call("toolu_2", "zoom", toolset_name="browser")],
                },
                user(result(), result("toolu_2")),
            ],
            tools=[tool(long), tool("b")],
            stream=True,
            thinking={"type": "adaptive"},
            stop_sequences=["a"],
        )
    )
    assert asked.path == "/chat/completions"
    assert asked.stream
    assert asked.model == "claude-x"
    assert asked.max_tokens == 100
    assert {long, "b", "old.name"} == set(asked.names.values()) - {"browser__zoom"}
    assert asked.shape.namespaces == {"browser__zoom": ("browser", "zoom")}
    assert asked.stop_sequences == ("a",)
    assert asked.shown == "yes"
    assert asked.nonce == "n"


@pytest.mark.parametrize("missing", ["model", "messages", "max_tokens"])
def test_missing_members(missing: str) -> None:
    request = body()
    del request[missing]
    assert refusal(request) == f"{missing}: Field required"


def test_the_route_names_the_model_and_the_profile_may_add_members() -> None:
    assert sent(body(), target(extra={"store": False, "model": "pinned"})) | {"messages": []} == {
        "model": "pinned",
        "messages": [],
        "max_completion_tokens": 100,
        "store": False,
    }


def test_members_come_in_one_order() -> None:
    request = body(temperature=1, system="s", tools=[tool()], tool_choice={"type": "auto"})
    assert ask(request).body == ask(dict(reversed(request.items()))).body


@pytest.mark.parametrize("request_body", [{}, {"model": 7}, body(messages={}), body(messages=[7]), body(messages=[])])
def test_refusals_are_values(request_body: dict[str, object]) -> None:
    assert isinstance(messages_on_chat.request(request_body, target()), Rejection)


def test_strict_turns_a_warning_into_a_refusal() -> None:
    strict = target(strictness="strict")
    assert refusal(body(top_k=1), strict).startswith("top_k: ")
    assert refusal(body(foo=1), strict) == "foo: Extra inputs are not permitted"
    assert ask(body(foo=1), target(strictness="silent")).warnings == ("dropped:foo",)  # for the log


def test_strict_follows_the_api_version() -> None:
    newer = target(strictness="strict", headers={"anthropic-version": "2026-10-21"})
    older = target(strictness="strict", headers={"anthropic-version": "2023-06-01"})
    assert refusal(body(temperature=1), newer) == "temperature: Extra inputs are not permitted"
    assert sent(body(temperature=1), older)["temperature"] == 1
    cited = body(messages=[user(text("a", citations=[{}]))])
    assert refusal(cited, newer).startswith("messages.0.content.0.citations")
    document = {"type": "document", "source": {"type": "text", "data": "d"}}
    spoken = body(messages=[user(text("q")), {"role": "assistant", "content": [document]}, user(text("q"))])
    assert refusal(spoken, newer).startswith("messages.1.content.0")
    assert "[Document: untitled]" in sent(spoken, older)["messages"][1]["content"]
