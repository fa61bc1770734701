from hypothesis import given
from hypothesis import strategies as st

from extproc.demo.script import Call, Fault, Message, Step, parse, step, text_of


def user(*lines: str) -> Message:
    return {"role": "user", "content": "\n".join(lines)}


ASSISTANT: Message = {"role": "assistant", "content": "ok"}


def test_no_directives_no_step() -> None:
    assert step([user("hello, what does demo: say do?")]) is None
    assert step([]) is None


def test_every_directive() -> None:
    message = user(
        "demo: think hmm",
        "demo: say one",
        "  demo:say two ",
        'demo: call a {"x": 1}',
        "demo: call b",
        "demo: silent 0.5",
        "demo: slow 20",
        "demo: length",
        "demo: html",
    )
    assert step([message]) == Step(
        says=["one", "two"],
        thoughts=["hmm"],
        calls=[Call("a", '{"x": 1}'), Call("b", "{}")],
        faults=[Fault("html", "html")],
        silent=0.5,
        slow=0.02,
        length=True,
    )


def test_lines_are_found_amid_other_text_and_parts() -> None:
    parts = [
        {"type": "text", "text": "<system-reminder>\nbe good\n</system-reminder>"},
        {"type": "image_url", "image_url": {"url": "data:"}},
        {"type": "text", "text": "please\r\ndemo: say hi\r\nthanks"},
    ]
    found = step([{"role": "user", "content": parts}])
    assert found is not None
    assert found.says == ["hi"]


def test_steps_advance_with_assistant_messages() -> None:
    script = user("demo: call a {}", "demo: then", "demo: say done")
    tool: Message = {"role": "tool", "tool_call_id": "1", "content": "demo: say not me"}
    said = [found.says if (found := step(turns)) else None for turns in ([script], [script, ASSISTANT, tool])]
    assert said == [[], ["done"]]
    assert step([script, ASSISTANT, tool, user("a reminder without script"), ASSISTANT]) is None


def test_the_last_script_counts() -> None:
    found = step([user("demo: say old"), ASSISTANT, user("demo: say new")])
    assert found is not None
    assert found.says == ["new"]


def test_fail_options() -> None:
    line = "fail 429 retry-after=3 times=2 code=insufficient_quota message=Slow down, times=9 please"
    [only] = parse([line])
    assert only.faults == [Fault("fail", line, 429, 2, "3", "insufficient_quota", "Slow down, times=9 please")]


def test_what_is_not_understood_is_said() -> None:
    lines = ["dance", "fail", "fail soon", "fail 200", "fail 500 often", "silent please", "truncate times=x"]
    for line in lines:
        [only] = parse([line])
        assert only == Step(says=[f"The demo model does not understand this directive: {line}"])


def test_text_of() -> None:
    assert text_of(None) == ""
    assert text_of([{"type": "text", "text": "a"}, {"type": "file"}]) == "a\n\n[file]"


@given(st.lists(st.text()))
def test_any_line_gives_steps(lines: list[str]) -> None:
    assert parse(lines)
