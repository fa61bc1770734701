"""One worker process: `python -m extproc.transport.worker CONFIG ADDRESS LEAVE [PROBE]`. Only the
supervisor starts it.

A Unix socket is served by the built-in server, because its only peer is our own Envoy; TCP by grpcio.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

if __name__ == "__main__":
    gc.disable()  # what modules make when they load stays; `serve` turns it on again

from extproc.config.loading import Invalid
from extproc.config.processor_tls import check_server, is_tcp
from extproc.gateway import plugins
from extproc.printable import log_to_stderr, show
from extproc.providers import prices
from extproc.transport import health, service
from extproc.transport.builtin.grpc import Server
from extproc.transport.calls import Method
from extproc.transport.gateways import Gateways
from extproc.transport.observe import Observer
from extproc.transport.translator import Translator

READY = "ready"
GRACE_SECONDS = 600.0
OWNER_ONLY, OWNERS_SOCKET = 0o077, 0o177


class Stops(Protocol):
    async def stop(self, grace: float) -> None: ...


async def serve(config: Path, address: str, leave: float, probe: str = "") -> None:
    """Until SIGTERM, or until the supervisor is gone: then say so for `leave` seconds, finish what runs (bounded), and
    go. `probe`: a Unix socket on which the supervisor asks for health where `address` is TCP, which wants a
    certificate. Raises config.Invalid, OSError."""
    translator = Translator()
    gateways = Gateways(config, translator)
    await gateways.begin()
    status = health.Health(gateways.ready)
    observer = Observer(gateways.current().source.config)
    stream = partial(service.Stream, gateways, observer)
    methods: dict[bytes, Method] = {service.PROCESS: stream, health.CHECK: status.check}
    # What is here stays: the collector need not look at it again, and need not look often.
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 50)
    servers = [await _listen(address, methods, gateways)]
    if probe:
        servers.append(await _listen(probe, {health.CHECK: status.check}, gateways))
    status.serving = True
    print(READY, flush=True)
    told = _told_to_leave()
    loading = asyncio.create_task(_load_prices())
    following = asyncio.create_task(gateways.follow())
    if gateways.supervised:
        # Whoever starts next wants this address, and knows newer files.
        following.add_done_callback(lambda _: told.set())
    await told.wait()
    following.cancel()
    loading.cancel()
    status.serving = False
    await asyncio.sleep(leave)
    await asyncio.gather(*(server.stop(GRACE_SECONDS) for server in servers))
    gateways.flush()
    await translator.close()
    await asyncio.to_thread(observer.close)


async def _load_prices() -> None:
    """After the start, which is not to wait for it, and before the first call has to."""
    await asyncio.to_thread(prices.published)
    gc.freeze()


async def _listen(address: str, methods: Mapping[bytes, Method], gateways: Gateways) -> Stops:
    """Raises config.Invalid, OSError."""
    if not is_tcp(address):
        server = Server(methods, gateways.max_message_bytes)
        # A socket gets its mode when it is bound: before a `chmod` others may have connected.
        before = os.umask(OWNERS_SOCKET)
        try:
            await server.listen(address)
        finally:
            os.umask(before)
        return server
    from extproc.transport import grpcio

    check_server(gateways.current().source, [address])
    network = grpcio.GrpcioServer(methods, lambda: (gateways.current().source.config, gateways.current().tls))
    await network.listen(address)
    return network


def _told_to_leave() -> asyncio.Event:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, told.set)
    return told


def main(argv: list[str]) -> int:
    log_to_stderr()
    # grpcio's core writes a line for each peer that fails the handshake; strangers could fill the log with them.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        os.umask(OWNER_ONLY)
        plugins.load()
        asyncio.run(serve(Path(argv[0]), argv[1], float(argv[2]), *argv[3:4]))
    except (Invalid, plugins.Unusable) as error:
        show(error, sys.stderr)
        return 2
    except OSError as error:
        show(f"cannot serve on {argv[1]}: {error}", sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
