"""A bug raises, in each phase of a call: the caller reads an error in its own words, and what the bug quotes is told to
nobody."""

from collections.abc import Iterator

import httpx
import pytest

from tests.e2e import buggy_worker
from tests.e2e.bare import bare_envoy, configured, worker
from tests.e2e.buggy_worker import HEADER, SECRET
from tests.e2e.refusals import PROMPT, never_asked, refused
from tests.e2e.stack import GATEWAY, Lines, Model, Stack, prompt

CONFIG = GATEWAY + "streaming: {ping_interval: 0.1}\n"


@pytest.fixture(scope="module")
def buggy(model: Model) -> Iterator[tuple[Stack, Lines]]:
    with configured(model.url, CONFIG) as setup:
        address = f"unix:{setup.folder}/worker.sock"
        with worker(setup, address, [buggy_worker.__file__]) as said, bare_envoy(setup, [address], healthy=1) as stack:
            yield stack, said


def call(stack: Stack, bug: str, text: str, *, stream: bool) -> httpx.Response:
    return stack.call(prompt(f"demo: say one two three\n{text}", stream=stream), headers={HEADER: bug})


def told(buggy: tuple[Stack, Lines], answer: httpx.Response) -> None:
    """On record, by type and place alone; and the next call works."""
    stack, said = buggy
    assert stack.record(answer)["reason"] == "Internal"
    assert said.first(lambda line: "exchange failed: RuntimeError at " in line or None)
    assert SECRET not in answer.text + said.text + stack.printed
    assert stack.call(prompt("demo: say hi")).status_code == 200


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("bug", ["RequestHeaders", "RequestBody"])
def test_before_the_model_is_asked(buggy: tuple[Stack, Lines], model: Model, bug: str, stream: bool) -> None:
    with never_asked(model):
        answer = call(buggy[0], bug, PROMPT, stream=stream)
    refused(buggy[0], answer, 500, "api_error")
    told(buggy, answer)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("bug", ["ResponseHeaders", "ResponseBody Held"])
def test_before_the_answer(buggy: tuple[Stack, Lines], bug: str, stream: bool) -> None:
    answer = call(buggy[0], bug, "", stream=stream)
    refused(buggy[0], answer, 500, "api_error")
    told(buggy, answer)


@pytest.mark.parametrize("bug", ["ResponseBody Flowing", "DeadlineReached Flowing"])
def test_while_the_answer_flows(buggy: tuple[Stack, Lines], bug: str) -> None:
    answer = call(buggy[0], bug, "demo: slow 200", stream=True)
    assert answer.status_code == 200 and "message_stop" not in answer.text
    assert "event: error" in answer.text.rstrip().rpartition("\n\n")[2]
    told(buggy, answer)
