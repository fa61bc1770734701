"""However the processor fails, the call fails: nobody passes unchecked, and the client reads it in its own words."""

import os
import signal
import time
from collections.abc import Iterator

import httpx
import pytest

from extproc import pb
from tests.e2e import fake_processor as fake
from tests.e2e.bare import bare_envoy, configured, worker
from tests.e2e.fake_processor import FakeProcessor
from tests.e2e.processes import children
from tests.e2e.refusals import PROMPT, never_asked, refused
from tests.e2e.sse import events, kinds, streaming
from tests.e2e.stack import SECONDS, Json, Model, Stack, prompt, up


@pytest.fixture(scope="module")
def faulty(model: Model) -> Iterator[tuple[Stack, FakeProcessor]]:
    fake.knows_provider(model.url)
    with configured(model.url) as setup:
        address = f"unix:{setup.folder}/fake.sock"
        with (
            fake.fake_processor(address) as processor,
            bare_envoy(setup, [address], healthy=1, timeout="0.5s") as stack,
        ):
            yield stack, processor


ANSWER = pb.ProcessingResponse(response_headers=pb.HeadersResponse())
BODY = pb.ProcessingResponse(request_body=pb.BodyResponse())
CLOSES_AT_ONCE: fake.Behaviour = lambda requests, context: iter(())  # noqa: E731 - a table of them follows

FAULTS: dict[str, tuple[fake.Behaviour, int]] = {
    "closes before it reads": (CLOSES_AT_ONCE, 503),
    "closes at the headers": (fake.closes, 503),
    "closes at the body": (fake.after_headers(fake.closes), 503),
    "aborts at the headers": (fake.aborts, 503),
    "aborts at the body": (fake.after_headers(fake.aborts), 503),
    "hangs at the headers": (fake.hangs, 504),
    "hangs at the body": (fake.after_headers(fake.hangs), 504),
    "garbage at the headers": (fake.says(b"\xff\xff garbage"), 503),
    "garbage at the body": (fake.after_headers(fake.says(b"\xff\xff garbage")), 503),
    "an empty reply": (fake.says(b""), 503),
    "another message's reply": (fake.says(BODY), 503),
    "an answer's reply": (fake.says(ANSWER), 503),
    "no verdict": (fake.lets_through(), 503),
    "a verdict for no provider": (fake.lets_through(fake.VERDICT_ONLY), 503),
    "a provider without a verdict": (fake.lets_through(fake.CLUSTER_ONLY), 503),
    "another verdict": (fake.lets_through(fake.CLUSTER_ONLY, {"verdict": "deny"}), 503),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_request_never_reaches_the_model(faulty: tuple[Stack, FakeProcessor], model: Model, name: str) -> None:
    stack, processor = faulty
    processor.behaviour, status = FAULTS[name]
    before = processor.called
    with never_asked(model):
        answer = stack.call(prompt(PROMPT))
    assert processor.called > before
    _, record = refused(stack, answer, status, "timeout_error" if status == 504 else "api_error")
    assert record["reason"] == "Internal"


@pytest.mark.parametrize("name", ["aborts at the headers", "hangs at the body"])
def test_a_client_of_bedrock_reads_it_in_awss_words(
    faulty: tuple[Stack, FakeProcessor], model: Model, name: str
) -> None:
    stack, processor = faulty
    processor.behaviour, status = FAULTS[name]
    with never_asked(model):
        answer = stack.call(prompt("demo: say hi"), path="/bedrock/model/claude-x/invoke")
    expected = {503: (503, "ServiceUnavailableException"), 504: (408, "ModelTimeoutException")}[status]
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == expected
    assert list(answer.json()) == ["message"]


def test_the_same_call_passes_with_a_verdict(faulty: tuple[Stack, FakeProcessor], model: Model) -> None:
    """So it is the verdict that the calls above were lacking."""
    stack, processor = faulty
    processor.behaviour = fake.lets_through(fake.VERDICT_ONLY, fake.CLUSTER_ONLY)
    before = len(model.requests())
    stack.call(prompt(PROMPT))
    assert len(model.requests()) == before + 1


def test_no_processor_at_all(model: Model) -> None:
    """Until there is one."""
    with configured(model.url) as setup:
        address = f"unix:{setup.folder}/late.sock"
        with bare_envoy(setup, [address], healthy=0) as stack:
            with never_asked(model):
                _, record = refused(stack, stack.call(prompt(PROMPT)), 503, "api_error")
            assert record["reason"] == "Internal"
            with worker(setup, address):
                assert until_it_works(stack)[-1] == 200


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("single")
    with up(folder, environ={"MODEL_URL": model.url}, arguments=["--workers", "1"]) as running:
        yield running


def kill_worker(stack: Stack) -> None:
    [worker] = [pid for pid, command in children(stack.process.pid).items() if "extproc.transport.worker" in command]
    os.kill(worker, signal.SIGKILL)


def until_it_works(stack: Stack) -> list[int]:
    """Statuses until a call succeeds."""
    deadline, statuses = time.monotonic() + SECONDS, [0]
    while statuses[-1] != 200 and time.monotonic() < deadline:
        time.sleep(0.02)
        statuses.append(stack.call(prompt("demo: say hello")).status_code)
    return statuses[1:]


def test_a_killed_worker_comes_back(single: Stack) -> None:
    kill_worker(single)
    statuses = until_it_works(single)
    assert statuses[-1] == 200 and set(statuses[:-1]) <= {503}
    assert single.err.first(lambda line: "ended with status -9" in line or None)


def test_a_worker_killed_in_mid_stream_leaves_no_false_end(single: Stack) -> None:
    found: list[Json] = []
    with streaming(single, f"demo: say {'word ' * 200}\ndemo: slow 50") as answer:
        coming = events(answer)
        found += [next(coming) for _ in range(4)]
        kill_worker(single)
        with pytest.raises(httpx.RemoteProtocolError):
            found.extend(coming)
    assert kinds(found)[0] == "message_start" and "message_stop" not in kinds(found)
    assert single.record(answer)["reason"] == "Internal"
    assert until_it_works(single)[-1] == 200
