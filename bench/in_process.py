"""A whole call as a worker handles it, without sockets and processes: Envoy's messages in, the processor's out.

`paired` compares configurations in turn, a few calls at a time, so that a noisy machine disturbs all of them alike.
"""

import asyncio
import gc
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench import bodies, mock
from bench.stack import CONFIG
from extproc import pb
from extproc.demo import idp
from extproc.gateway import gateway
from extproc.policy.budgets.wallet import Wallet
from extproc.store.counters import Claim, LocalCounters, Settlement, Taken
from extproc.transport.calls import Status
from extproc.transport.gateways import Configuration, Gateways
from extproc.transport.observe import Observer
from extproc.transport.service import Stream

AT_ONCE = 50
WARM_UP = 300
QUANTILE = 0.1


class _Bank:
    """Counters that cost next to nothing while slices last: what is used of them is not counted."""

    def __init__(self) -> None:
        self._counters = LocalCounters()

    async def take(self, claims: Sequence[Claim]) -> Taken | None:
        return self._counters.take_now("", claims, 1)

    def settle(self, settlements: list[Settlement], call: str = "") -> None:
        pass


class _OneGateway(Gateways):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._configuration = Configuration(1, gateway.load(path, {"HOME": "a-key"}, wallet=Wallet(_Bank())))

    def acquire(self) -> Configuration:
        return self._configuration

    def release(self, configuration: Configuration) -> None:
        pass


class _Call:
    """Envoy's side of a stream."""

    def __init__(self) -> None:
        self.ended = False
        self.replied = asyncio.Event()

    def write(self, message: bytes) -> None:
        self.replied.set()

    def end(self, status: Status = Status.OK, message: str = "") -> None:
        self.ended = True


class Worker:
    """One configuration, and the messages of a translated call of 1 KB."""

    def __init__(self, folder: Path, more: str) -> None:
        """`more`: what the configuration has besides."""
        idp.ensure_keys(folder / "keys")
        (folder / "gateway.yaml").write_text(CONFIG.format(port=1, mock=1) + more)
        self._gateways = _OneGateway(folder / "gateway.yaml")
        self._observer = Observer(self._gateways.acquire().gateway.source.config)
        self._request, self._answer = _messages(idp.mint(folder / "keys"))

    async def call(self) -> None:
        call = _Call()
        stream = Stream(self._gateways, self._observer, call)
        for message in self._request:
            call.replied.clear()
            stream.received(message)
            await call.replied.wait()
        for message in self._answer:
            stream.received(message)
        stream.finished()
        stream.closed()


def _messages(token: str) -> tuple[list[bytes], list[bytes]]:
    """Those of the request, each of which waits for a reply, and those of the answer."""
    asked, answered = bodies.small(), mock.JSON.partition(b"\r\n\r\n")[2]
    fields = {":method": "POST", ":path": "/v1/messages", ":authority": "gateway", ":scheme": "http"}
    fields |= {"authorization": f"Bearer {token}", "content-type": "application/json"}
    request = [
        pb.ProcessingRequest(request_headers=_headers(fields | {"content-length": str(len(asked))})),
        pb.ProcessingRequest(request_body=pb.HttpBody(body=asked, end_of_stream=True)),
    ]
    fields = {":status": "200", "content-type": "application/json", "content-length": str(len(answered))}
    answer = [
        pb.ProcessingRequest(response_headers=_headers(fields)),
        pb.ProcessingRequest(response_body=pb.HttpBody(body=answered, end_of_stream=True)),
    ]
    return [one.SerializeToString() for one in request], [one.SerializeToString() for one in answer]


def _headers(fields: Mapping[str, str]) -> pb.HttpHeaders:
    headers = pb.HttpHeaders()
    for name, value in fields.items():
        header = headers.headers.headers.add()
        header.key, header.raw_value = name, value.encode()
    return headers


async def paired(workers: Sequence[Worker], calls: int) -> list[float]:
    """CPU of a call for each worker, in us: of all turns, the tenth that was disturbed least ends here."""
    for worker in workers:
        await _run(worker, WARM_UP)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)  # as in a worker
    turns = [[await _run(worker, AT_ONCE) for worker in workers] for _ in range(max(10, calls // AT_ONCE))]
    return [_quantile(costs) for costs in zip(*turns, strict=True)]


async def _run(worker: Worker, calls: int) -> float:
    began = time.process_time()
    for _ in range(calls):
        await worker.call()
    return (time.process_time() - began) * 1e6 / calls


def _quantile(costs: Iterable[float]) -> float:
    ordered = sorted(costs)
    return ordered[int(len(ordered) * QUANTILE)]
