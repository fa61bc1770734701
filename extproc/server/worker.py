"""One worker process: `python -m extproc.server.worker CONFIG ADDRESS LEAVE`. Started by the supervisor only."""

import asyncio
import gc
import logging
import signal
import sys
from functools import partial
from pathlib import Path

from extproc.config import Invalid
from extproc.server import health, service
from extproc.server.gateways import Gateways
from extproc.server.grpc import Server
from extproc.server.observe import Observer
from extproc.server.translator import Translator

READY = "ready"
GRACE_SECONDS = 600.0


async def serve(config: Path, address: str, leave: float) -> None:
    """Until SIGTERM, or until the supervisor is gone: then say so for `leave` seconds, finish what runs (bounded), and
    go. Raises config.Invalid, OSError."""
    translator = Translator()
    gateways = Gateways(config, translator)
    await gateways.begin()
    status = health.Health(gateways.ready)
    stream = partial(service.Stream, gateways, Observer(gateways.current().source.config))
    server = Server({service.PROCESS: stream, health.CHECK: status.check})
    # What is here stays: the collector need not look at it again, and need not look often.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    await server.listen(address)
    status.serving = True
    print(READY, flush=True)
    told = _told_to_leave()
    following = asyncio.create_task(gateways.follow())
    if gateways.supervised:
        # Whoever starts next wants this address, and knows newer files.
        following.add_done_callback(lambda _: told.set())
    await told.wait()
    following.cancel()
    status.serving = False
    await asyncio.sleep(leave)
    await server.stop(GRACE_SECONDS)
    await translator.close()


def _told_to_leave() -> asyncio.Event:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, told.set)
    return told


def main(argv: list[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        asyncio.run(serve(Path(argv[0]), argv[1], float(argv[2])))
    except Invalid as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"cannot serve on {argv[1]}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
