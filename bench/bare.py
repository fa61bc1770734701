"""What grpcio costs by itself: a processor that swaps the path and nothing else. `python -m bench.bare ADDRESS`.

It gives the same number of replies of the same kinds as the product, so the two differ by the gRPC server beneath and
by the product's own work above it.
"""

import asyncio
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from extproc import pb
from extproc.events import (
    Action,
    AnswerBody,
    AwaitBody,
    BeginAnswer,
    Event,
    Forward,
    Record,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
)
from extproc.transport.messages import to_event, to_responses

VERDICT: Record = {"verdict": "allow"}
OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
)


async def process(request_iterator: object, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
    held = True
    waiting = b""
    while isinstance(message := await context.read(), bytes):
        request = pb.ProcessingRequest.FromString(message)
        event = to_event(request)
        if isinstance(event, ResponseBody) and held and not event.body.startswith(b"data:") and not event.end:
            waiting += event.body
            continue
        for response in to_responses(_actions(event, held, waiting), request):
            await context.write(response.SerializeToString())
        held = held and not isinstance(event, ResponseBody)


def _actions(event: Event, held: bool, waiting: bytes) -> list[Action]:
    match event:
        case RequestHeaders():
            return [AwaitBody({})]
        case RequestBody(body):
            headers = {":path": "/v1/chat/completions", "content-length": str(len(body))}
            return [Forward(headers, (), body, VERDICT)]
        case ResponseBody(body, end):
            begin = [BeginAnswer(200, {}, ("content-length",), {})] if held else []
            return [*begin, AnswerBody(waiting + body, end, {})]
        case ResponseHeaders() | _:
            return []


async def main(address: str) -> None:
    server = grpc.aio.server(options=OPTIONS)
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(process)
    name = "envoy.service.ext_proc.v3.ExternalProcessor"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Process": handler}),))
    status = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    server.add_insecure_port(address)
    await server.start()
    await status.set("", health_pb2.HealthCheckResponse.SERVING)
    await server.wait_for_termination()


if __name__ == "__main__":
    VERDICT["cluster"] = sys.argv[2]
    asyncio.run(main(sys.argv[1]))
