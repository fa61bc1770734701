"""One worker process: `python -m extproc.server.worker CONFIG ADDRESS LEAVE`. Started by the supervisor only."""

import asyncio
import gc
import logging
import signal
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from extproc import pb
from extproc.config import Invalid
from extproc.server.gateways import Gateways
from extproc.server.service import Service

READY = "ready"
GRACE_SECONDS = 600.0

OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
    # Envoy may ping as often as it likes; grpcio's default would end live streams over it.
    ("grpc.http2.max_ping_strikes", 0),
)


async def serve(config: Path, address: str, leave: float) -> None:
    """Until SIGTERM: then say so for `leave` seconds, finish what runs (bounded), and go.
    Raises config.Invalid, OSError."""
    gateways = Gateways(config)
    await gateways.begin()
    server = grpc.aio.server(options=OPTIONS)
    pb.add_ExternalProcessorServicer_to_server(Service(gateways), server)
    status = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    server.add_insecure_port(address)
    # What is here stays: the collector need not look at it again, and need not look often.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    await server.start()
    await status.set("", health_pb2.HealthCheckResponse.SERVING)
    print(READY, flush=True)
    following = asyncio.create_task(gateways.follow())
    await _told_to_leave()
    following.cancel()
    await status.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    await asyncio.sleep(leave)
    await server.stop(GRACE_SECONDS)


async def _told_to_leave() -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, told.set)
    await told.wait()


def main(argv: list[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        asyncio.run(serve(Path(argv[0]), argv[1], float(argv[2])))
    except Invalid as error:
        print(error, file=sys.stderr)
        return 2
    except (OSError, RuntimeError) as error:
        print(f"cannot serve on {argv[1]}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
