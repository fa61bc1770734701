"""`make soak ARGS=30`: so many minutes of mixed load, with clients that leave, workers that are killed, and attackers.

At its end: how calls ended, how many honest ones were refused and how long the others took, what memory and file
descriptors did meanwhile, and whether budgets, the log and the ledger agree on what was used (`bench.agreement`).
`ARGS="30 --attackers resets uploads"` runs these of `bench.attack` alone. With none behind `--attackers`, the log must
have each call.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench import agreement, attack, bodies, load
from bench.mock import CHUNKS
from bench.stack import Stack, gateway, machine, mock_model
from extproc.demo import idp

CALLS_PER_SECOND = 60
KILL_SECONDS = 20.0
LOOK_SECONDS = 5.0
CALL_SECONDS = 30.0
SETTLED = 0.2
"""From this share of the time on memory should stay as it is."""
AFTERMATH_SECONDS = 2.0
"""After a worker was killed: until Envoy has found the next one healthy."""
HONEST = frozenset({"JSON, 1 KB", "JSON, 61 KB", "stream", "passes through", "JSON, failing", "stream, failing"})
FAILING, FAILING_STREAM = (bodies.small(stream=streams, model="failing") for streams in (False, True))
"""For a model whose first provider fails a tenth of its calls."""
_ERROR = re.compile(rb'"type": ?"(\w+_error)"')


@dataclass
class Seen:
    sent: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    latencies: list[float] = field(default_factory=list)
    """Seconds of the honest calls that were answered as they should be."""
    refused: Counter[str] = field(default_factory=Counter)
    """Honest calls that were not."""
    lost: int = 0
    """Those of them that may have been lost with a killed worker."""
    looks: list[tuple[float, float, int, float, int]] = field(default_factory=list)
    """Seconds, MB and descriptors of the worker that is never killed, MB and descriptors of Envoy."""


class Soak:
    def __init__(self, stack: Stack, minutes: float, frugal: str) -> None:
        """`frugal`: the token of a caller who is near a limit."""
        self.stack = stack
        self.seen = Seen()
        self._seconds = minutes * 60
        self._begun = time.monotonic()
        self._killed = -AFTERMATH_SECONDS
        good = stack.token
        self._kinds: list[tuple[int, str, Callable[[], Awaitable[str]]]] = [
            (40, "JSON, 1 KB", lambda: self._call(load.post("/v1/messages", good, bodies.small()))),
            (20, "JSON, 61 KB", lambda: self._call(LARGE % good.encode())),
            (15, "stream", lambda: self._call(load.post("/v1/messages", good, bodies.small(stream=True)))),
            (10, "JSON, failing", lambda: self._call(load.post("/v1/messages", good, FAILING))),
            (10, "stream, failing", lambda: self._call(load.post("/v1/messages", good, FAILING_STREAM))),
            (5, "passes through", lambda: self._call(load.post("/files/x", good, bodies.small()))),
            (5, "near a limit", lambda: self._call(load.post("/v1/messages", frugal, bodies.small(stream=True)))),
            (5, "no token", lambda: self._call(load.post("/v1/messages", "x", bodies.small()))),
            (5, "bad body", lambda: self._call(load.post("/v1/messages", good, b"{"))),
            (5, "left in a stream", lambda: self._leave(load.post("/v1/messages", good, bodies.small(stream=True)))),
            (5, "left at once", lambda: self._leave(load.post("/v1/messages", good, bodies.small()), wait=False)),
        ]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._kill()), group.create_task(self._look())]
            weights, names, calls = zip(*self._kinds, strict=True)
            while not self._over():
                [n] = random.choices(range(len(calls)), weights)
                group.create_task(self._one(names[n], calls[n]))
                await asyncio.sleep(random.expovariate(CALLS_PER_SECOND))
            for task in beside:
                task.cancel()

    def _over(self) -> bool:
        return time.monotonic() - self._begun > self._seconds

    async def _one(self, name: str, call: Callable[[], Awaitable[str]]) -> None:
        self.seen.sent += 1
        began = time.monotonic()
        try:
            async with asyncio.timeout(CALL_SECONDS):
                ended = await call()
        except TimeoutError:
            ended = "hangs"
        except (OSError, asyncio.IncompleteReadError):
            ended = "reset"
        self.seen.ended[f"{name}: {ended}"] += 1
        if name in HONEST:
            self._judge(name, ended, began)

    def _judge(self, name: str, ended: str, began: float) -> None:
        if ended in ("200", "200 complete"):
            self.seen.latencies.append(time.monotonic() - began)
        elif began < self._killed + AFTERMATH_SECONDS:
            self.seen.lost += 1
        else:
            self.seen.refused[f"{name}: {ended}"] += 1

    async def _call(self, request: bytes) -> str:
        """The status, and of a stream whether it ended complete, with an error, or otherwise."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.stack.port, limit=2**22)
        try:
            writer.write(request.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))
            answer = await reader.read(-1)
        finally:
            writer.close()
        status = answer[9:12].decode() or "nothing"
        if b"text/event-stream" in answer.partition(b"\r\n\r\n")[0]:
            stopped = b"event: message_stop" in answer
            whole = stopped and answer.count(b"word ") == CHUNKS
            if stopped and not whole:
                return f"{status} FALSELY COMPLETE"
            failed = b"event: error" in answer
            return f"{status} {'complete' if whole and not failed else 'with an error' if failed else 'cut'}"
        error = _ERROR.search(answer)
        return f"{status} {error[1].decode()}" if error else status

    async def _leave(self, request: bytes, wait: bool = True) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.stack.port)
        writer.write(request)
        if wait:
            await reader.readuntil(b"content_block_delta")
        else:
            await writer.drain()
        writer.transport.abort()
        return "left"

    async def _kill(self) -> None:
        """The second worker, ever again: the first shows what memory does."""
        while True:
            await asyncio.sleep(KILL_SECONDS)
            for process in psutil.Process(self.stack.supervisor).children():
                if self._is_second(process):
                    process.kill()
                    self.seen.kills += 1
                    self._killed = time.monotonic()

    def _is_second(self, process: psutil.Process) -> bool:
        return process not in (self.stack.processor, self.stack.envoy)

    async def _look(self) -> None:
        while True:
            worker, envoy = self.stack.processor, self.stack.envoy
            sizes = [(one.memory_info().rss / 1e6, one.num_fds()) for one in (worker, envoy)]
            self.seen.looks.append((time.monotonic() - self._begun, *sizes[0], *sizes[1]))
            await asyncio.sleep(LOOK_SECONDS)


LARGE = load.post("/v1/messages", "%TOKEN%", bodies.large()).replace(b"%", b"%%").replace(b"%%TOKEN%%", b"%b")


@contextlib.contextmanager
def attackers(kinds: Sequence[str], stack: Stack, folder: Path, seconds: float) -> Iterator[None]:
    """All at once, with a token of their own."""
    environ = {**os.environ, "ATTACK_TOKEN": idp.mint(folder / "keys", claims={"sub": "attacker"})}
    command = [sys.executable, "-m", "bench.attack"]
    processes = [subprocess.Popen([*command, kind, str(stack.port), str(seconds)], env=environ) for kind in kinds]
    try:
        yield
        if ended := [process.args for process in processes if process.poll()]:
            print(f"ATTACKERS FAILED: {ended}")
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def report(seen: Seen, logged: int) -> None:
    print(f"{seen.sent} calls, {logged} lines in the log; {seen.kills} workers killed")
    ordered = sorted(seen.latencies)
    refused = sum(seen.refused.values())
    share = refused / max(1, len(ordered) + refused)
    print(f"honest calls: {len(ordered)} answered, {refused} refused ({share:.3%})")
    for name, count in sorted(seen.refused.items()):
        print(f"  {count:7d}  {name}")
    print(f"  {seen.lost} more lost, maybe with a killed worker")
    quantiles = ", ".join(f"p{q * 100:g} {load.quantile(ordered, q) * 1000:.0f} ms" for q in (0.5, 0.9, 0.99, 1))
    print(f"  from connect to the last byte: {quantiles}")
    for name, count in sorted(seen.ended.items()):
        print(f"  {count:7d}  {name}")
    settled = [look for look in seen.looks if look[0] > SETTLED * seen.looks[-1][0]]
    for name, column in (("worker, MB", 1), ("worker, descriptors", 2), ("Envoy, MB", 3), ("Envoy, descriptors", 4)):
        values = [look[column] for look in settled]
        third = max(1, len(values) // 3)
        first, last = (sum(part) / len(part) for part in (values[:third], values[-third:]))
        print(f"{name}: first third {first:.1f}, last third {last:.1f}, most {max(values):.1f}, end {values[-1]:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("minutes", type=float, nargs="?", default=30.0)
    parser.add_argument("--attackers", nargs="*", choices=attack.ATTACKERS, default=list(attack.ATTACKERS))
    options = parser.parse_args()
    minutes: float = options.minutes
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        mock = opened.enter_context(mock_model())
        stack = opened.enter_context(gateway(folder, mock, workers=2, more=agreement.CONFIG))
        print(f"{time.strftime('%Y-%m-%d')}, {machine()}, {minutes:g} minutes", flush=True)
        before = _logged(folder)
        soak = Soak(stack, minutes, idp.mint(folder / "keys", claims={"sub": "frugal"}))
        with attackers(options.attackers, stack, folder, minutes * 60):
            asyncio.run(soak.run())
        deadline = time.monotonic() + CALL_SECONDS
        while _logged(folder) - before < soak.seen.sent and time.monotonic() < deadline:
            time.sleep(0.2)
        report(soak.seen, _logged(folder) - before)
        print(agreement.compared(folder))
        print(f"{agreement.in_progress(stack)} calls are still counted as in progress")


def _logged(folder: Path) -> int:
    with (folder / "log").open() as lines:
        return sum(1 for line in lines if line.startswith("{") and "http.status" in json.loads(line))


if __name__ == "__main__":
    main()
