"""Reads and translates a worker's heavy bodies: `python -m extproc.transport.translator_process`.

It gets tasks on standard input, each followed by its body, and writes results to standard output, each after a byte
that says whether the process ends now. It ends with its worker, which closes its input, or when a task takes too long.
"""

import contextlib
import gc
import os
import resource
import signal
import sys
from pathlib import Path
from typing import BinaryIO

if __name__ == "__main__":
    # Neither modules nor bodies make circles that matter: the collector would go through all objects time and again.
    gc.disable()

import msgspec

from extproc.errors import invalid
from extproc.gateway import plugins
from extproc.gateway.preparation import Prepared, Task, prepare

MEMORY_BYTES = 2 << 30
"""Address space of the process: more than any body within `limits.body` needs."""
KEPT_BYTES = 512 << 20
"""A process that has grown beyond this is replaced after its task, since memory is hardly ever given back."""
LENGTH_BYTES = 8
NICE = 3
"""Calls that need no translator go first."""

_encode = msgspec.msgpack.Encoder().encode


class Result(msgspec.Struct, frozen=True):
    prepared: Prepared | None = None
    failure: str = ""
    """Type and place of an exception; its text may quote the body."""


def frame(data: bytes) -> bytes:
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def main() -> int:
    os.nice(NICE)
    with contextlib.suppress(ValueError, OSError):  # macOS knows no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    plugins.load()
    tasks, results = sys.stdin.buffer, sys.stdout.buffer
    decoder = msgspec.msgpack.Decoder(Task)
    while (data := _frame(tasks)) is not None and (raw := _frame(tasks)) is not None:
        result = _carry_out(decoder.decode(data), raw)
        leaves = _resident_bytes() > KEPT_BYTES
        results.write(frame(b"\x01" if leaves else b"\x00") + frame(result))
        results.flush()
        if leaves:
            break
        del data, raw, result
        gc.collect()
    return 0


def _frame(stream: BinaryIO) -> bytes | None:
    length = stream.read(LENGTH_BYTES)
    return stream.read(int.from_bytes(length, "big")) if len(length) == LENGTH_BYTES else None


def _carry_out(task: Task, raw: bytes) -> bytes:
    # In CPU time, so that a busy machine costs nobody a good body. The signal's default action ends the process.
    signal.setitimer(signal.ITIMER_PROF, task.seconds)
    try:
        return _encode(Result(prepare(raw, task)))
    except OverflowError:  # more than 64 bits
        return _encode(Result(Prepared(rejection=invalid("", "the body holds a number that is too large"))))
    except MemoryError:
        return _encode(Result(failure="MemoryError"))
    except Exception as error:  # noqa: BLE001 - a bug ends one call
        return _encode(Result(failure=_place(error)))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _resident_bytes() -> int:
    """On Linux now; elsewhere the most it has been. Linux counts in the latter what the parent held at its fork:
    https://man7.org/linux/man-pages/man2/getrusage.2.html"""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _place(error: Exception) -> str:
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append(f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(error).__name__} at {frames[-1]}"


if __name__ == "__main__":
    sys.exit(main())
