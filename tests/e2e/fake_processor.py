"""A processor on real gRPC that does as the test says, wrongly above all."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from extproc import pb
from extproc.gateway.record import ALLOWED, CLUSTER, VERDICT
from extproc.providers.providers import cluster

Reply = pb.ProcessingResponse | bytes
Behaviour = Callable[[Iterator[pb.ProcessingRequest], grpc.ServicerContext], Iterator[Reply]]

_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"


class FakeProcessor:
    def __init__(self) -> None:
        self.behaviour: Behaviour = closes
        self.called = 0

    def process(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        self.called += 1
        parsed = (pb.ProcessingRequest.FromString(data) for data in requests)
        for reply in self.behaviour(parsed, context):
            yield reply if isinstance(reply, bytes) else reply.SerializeToString()


@contextlib.contextmanager
def fake_processor(address: str) -> Iterator[FakeProcessor]:
    fake = FakeProcessor()
    server = grpc.server(ThreadPoolExecutor(20))
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Process": grpc.stream_stream_rpc_method_handler(fake.process)
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    status = health.HealthServicer()
    status.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    server.add_insecure_port(address)
    server.start()
    try:
        yield fake
    finally:
        server.stop(0).wait()


def closes(requests: Iterator[pb.ProcessingRequest], context: grpc.ServicerContext) -> Iterator[Reply]:
    """Cleanly, at the request headers: Envoy takes it for consent."""
    next(requests)
    yield from ()


def after_headers(then: Behaviour) -> Behaviour:
    """Lets the headers pass and goes wrong at the body."""

    def behave(requests: Iterator[pb.ProcessingRequest], context: grpc.ServicerContext) -> Iterator[Reply]:
        yield passes(next(requests))
        yield from then(requests, context)

    return behave


def aborts(requests: Iterator[pb.ProcessingRequest], context: grpc.ServicerContext) -> Iterator[Reply]:
    yield from (_abort(context) for _ in requests)


def _abort(context: grpc.ServicerContext) -> Reply:
    context.abort(grpc.StatusCode.INTERNAL, "on purpose")


def hangs(requests: Iterator[pb.ProcessingRequest], context: grpc.ServicerContext) -> Iterator[Reply]:
    """Until Envoy gives up."""
    for _ in requests:
        pass
    yield from ()


def says(reply: Reply) -> Behaviour:
    """Whatever it is asked."""

    def behave(requests: Iterator[pb.ProcessingRequest], context: grpc.ServicerContext) -> Iterator[Reply]:
        yield from (reply for _ in requests)

    return behave


def lets_through(*metadata: Mapping[str, str]) -> Behaviour:
    """Says yes to everything; `metadata` goes along under `extproc`."""

    def behave(requests: Iterator[pb.ProcessingRequest], context: grpc.ServicerContext) -> Iterator[Reply]:
        said = {key: value for part in metadata for key, value in part.items()}
        for request in requests:
            reply = passes(request)
            if said:
                reply.dynamic_metadata.update({"extproc": said})
            yield reply

    return behave


def passes(request: pb.ProcessingRequest) -> pb.ProcessingResponse:
    common = pb.CommonResponse(clear_route_cache=True, header_mutation=pb.HeaderMutation())
    if request.HasField("request_headers"):
        return pb.ProcessingResponse(request_headers=pb.HeadersResponse(response=common))
    return pb.ProcessingResponse(request_body=pb.BodyResponse(response=common))


VERDICT_ONLY = {VERDICT: ALLOWED}
CLUSTER_ONLY: dict[str, str] = {}
"""Filled in by `knows_provider`."""


def knows_provider(base_url: str) -> None:
    CLUSTER_ONLY[CLUSTER] = cluster("openai", base_url)
