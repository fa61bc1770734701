"""What the libraries cost that do the same work: python -m bench.libraries. README.md says what follows from it."""

import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import celpy
from cel_expr_python import cel
from celpy.adapter import json_to_cel

from bench.stack import machine
from extproc.pb.external_processor_pb2 import ProcessingRequest

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # its generator is behind the pydantic of today
    from envoy_data_plane.envoy.service.ext_proc import v3

MESSAGE = Path(__file__).resolve().parent.parent / "tests/data/envoy-1.40/full-duplex-0-request_headers.bin"
RULE = 'jwt.team == "data-platform" && "llm-users" in jwt.groups'
CLAIMS = {"team": "data-platform", "groups": ["a", "b", "llm-users"], "sub": "ann", "org": "acme"}
SERVICE = "envoy_data_plane.envoy.service.ext_proc.v3"
_IMPORT = """
import sys, time, warnings, psutil
warnings.simplefilter("ignore")
before, begun = psutil.Process().memory_info().rss, time.process_time()
__import__(sys.argv[1])
print(time.process_time() - begun, psutil.Process().memory_info().rss - before)
"""


def main() -> None:
    print(machine())
    print("\n| | one use, CPU us | import, CPU ms | memory, MB |\n|---|---|---|---|")
    for name, module, work in (
        ("extproc.pb: one message", "extproc.pb.external_processor_pb2", ours()),
        ("envoy-data-plane: one message", SERVICE, published()),
        ("cel-expr-python: one rule", "cel_expr_python.cel", expr()),
        ("cel-python: one rule", "celpy", python()),
    ):
        print(f"| {name} | {_microseconds(work):.1f} | {_imported(module)} |")


def ours() -> Callable[[], object]:
    content = MESSAGE.read_bytes()
    return lambda: ProcessingRequest.FromString(content).SerializeToString()


def published() -> Callable[[], object]:
    content = MESSAGE.read_bytes()
    return lambda: bytes(v3.ProcessingRequest.parse(content))


def expr() -> Callable[[], object]:
    environment = cel.NewEnv(variables={"jwt": cel.Type("map<string, dyn>")})
    program = environment.compile(RULE)
    return lambda: program.eval(environment.Activation({"jwt": CLAIMS})).value()


def python() -> Callable[[], object]:
    environment = celpy.Environment()
    program = environment.program(environment.compile(RULE))
    return lambda: program.evaluate({"jwt": json_to_cel(CLAIMS)})


def _microseconds(work: Callable[[], object], seconds: float = 1.0) -> float:
    """Returns the best of five rounds, after one that warms up."""
    work()
    costs = []
    for _ in range(5):
        count, begun = 0, time.process_time()
        while (spent := time.process_time() - begun) < seconds / 5:
            for _ in range(20):
                work()
            count += 20
        costs.append(spent / count * 1e6)
    return min(costs)


def _imported(module: str) -> str:
    """Returns CPU time and memory of an import in a process of its own, as cells."""
    done = subprocess.run([sys.executable, "-c", _IMPORT, module], capture_output=True, text=True, check=True)
    seconds, size = map(float, done.stdout.split())
    return f"{seconds * 1000:.0f} | {size / 2**20:.0f}"


if __name__ == "__main__":
    main()
