"""The processor fails when the provider has answered: the answer is lost, and nobody takes it for one."""

from collections.abc import Iterator

import grpc
import pytest

from extproc import pb
from extproc.gateway.record import READ
from extproc.transport.messages import _READ_ANSWER
from tests.e2e import fake_processor as fake
from tests.e2e.bare import bare_envoy, configured
from tests.e2e.fake_processor import Behaviour, FakeProcessor, Reply
from tests.e2e.raw_provider import FINE, RawProvider
from tests.e2e.refusals import refused
from tests.e2e.stack import GATEWAY, Stack, prompt

HASTY = GATEWAY.replace("api_key: {env: MODEL_KEY}}", "api_key: {env: MODEL_KEY}, timeouts: {idle: 0.5}}")


@pytest.fixture(scope="module")
def faulty() -> Iterator[tuple[Stack, FakeProcessor]]:
    with RawProvider().serving() as provider, configured(provider.url, HASTY) as setup:
        provider.plays(FINE)
        fake.knows_provider(provider.url)
        address = f"unix:{setup.folder}/fake.sock"
        with fake.fake_processor(address) as processor, bare_envoy(setup, [address], healthy=1) as stack:
            yield stack, processor


@pytest.fixture(autouse=True)
def _the_next_call_works(faulty: tuple[Stack, FakeProcessor]) -> Iterator[None]:
    yield
    stack, processor = faulty
    processor.behaviour = fake.lets_through(fake.VERDICT_ONLY, fake.CLUSTER_ONLY)
    assert stack.call(prompt("demo: say hi")).status_code == 200


def answered(then: Behaviour) -> Behaviour:
    """Lets the request pass, and goes wrong when the answer comes."""

    def behave(requests: Iterator[pb.ProcessingRequest], context: grpc.ServicerContext) -> Iterator[Reply]:
        headers = fake.passes(next(requests))
        headers.mode_override.CopyFrom(_READ_ANSWER)
        yield headers
        body = fake.passes(next(requests))
        body.dynamic_metadata.update({"extproc": {**fake.VERDICT_ONLY, **fake.CLUSTER_ONLY, READ: True}})
        yield body
        yield from then(requests, context)

    return behave


def begun(then: Behaviour) -> Behaviour:
    """Goes wrong when it has let the answer's headers pass."""

    def behave(requests: Iterator[pb.ProcessingRequest], context: grpc.ServicerContext) -> Iterator[Reply]:
        next(requests)
        yield pb.ProcessingResponse(response_headers=pb.HeadersResponse())
        yield from then(requests, context)

    return behave


GARBAGE = fake.says(b"\xff\xff garbage")
FAULTS: dict[str, tuple[Behaviour, int, str, str]] = {
    "aborts at the answer's headers": (answered(fake.aborts), 503, "api_error", "Internal"),
    "aborts at the answer's body": (answered(begun(fake.aborts)), 503, "api_error", "Internal"),
    "garbage at the answer's headers": (answered(GARBAGE), 503, "api_error", "Internal"),
    "garbage at the answer's body": (answered(begun(GARBAGE)), 503, "api_error", "Internal"),
    "hangs at the answer's headers": (answered(fake.hangs), 504, "timeout_error", "UpstreamTimeout"),
    "hangs at the answer's body": (answered(begun(fake.hangs)), 504, "timeout_error", "UpstreamTimeout"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_answer_is_lost(faulty: tuple[Stack, FakeProcessor], name: str) -> None:
    stack, processor = faulty
    processor.behaviour, status, kind, reason = FAULTS[name]
    answer = stack.call(prompt("demo: say hi"))
    _, record = refused(stack, answer, status, kind)
    assert record["reason"] == reason


@pytest.mark.parametrize("then", [fake.closes, begun(fake.closes)], ids=["headers", "body"])
def test_a_clean_close_is_no_answer(faulty: tuple[Stack, FakeProcessor], then: Behaviour) -> None:
    """Envoy takes it for consent and drops what was not replied to: the caller gets a 200 that holds nothing, which
    nothing in Envoy can prevent, so the processor never closes cleanly; and the record says what it was."""
    stack, processor = faulty
    processor.behaviour = answered(then)
    answer = stack.call(prompt("demo: say hi"))
    assert (answer.status_code, answer.content) == (200, b"")
    record = stack.record(answer)
    assert (record["reason"], record["error"]) == ("Internal", "unread_answer")
