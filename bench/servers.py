"""What a call costs by each of the two servers: the built-in one on a Unix socket, and grpcio on TCP with mutual TLS.

Part of `make bench`; alone: `python -m bench.servers 0.1`.
"""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from bench.rows import Row, cost, rows
from bench.stack import CONFIG, ENVOY, Stack, answers, free_port, gateway, mock_model
from extproc.demo import idp
from extproc.demo.certificates import ensure_certificates
from extproc.supervisor import up

NAMES = ("translated call, 1 KB", "streamed chunk", "passthrough, 1 KB")
TLS = """
processor:
  tls: {certificate: processor/certificate.pem, key: processor/key.pem, client_ca: processor/client_ca.pem}
  client: {certificate: envoy/certificate.pem, key: envoy/key.pem, ca_file: envoy/ca.pem}
"""


@contextmanager
def network_gateway(folder: Path, mock: int) -> Iterator[Stack]:
    """One worker on TCP with mutual TLS, and the Envoy that is rendered for it."""
    port, address = free_port(), f"127.0.0.1:{free_port()}"
    path = folder / "gateway.yaml"
    path.write_text(CONFIG.format(port=port, mock=mock) + TLS)
    idp.ensure_keys(folder / "keys")
    ensure_certificates(folder / "processor", folder / "envoy", ["127.0.0.1"])
    argv = [sys.executable, "-m", "extproc", "serve", "--config", str(path), "--workers", "1"]
    argv += ["--processor", address, "--envoy-folder", str(folder)]
    serving = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={"HOME": str(folder)})
    try:
        assert serving.stdout is not None and "is serving on" in serving.stdout.readline()
        front = subprocess.Popen(
            [up.binary_path(), "-c", "bootstrap.json", *ENVOY], cwd=folder, stdout=subprocess.DEVNULL
        )
        try:
            token = idp.mint(folder / "keys")
            while not answers(port, token):
                time.sleep(0.05)
            [worker] = psutil.Process(serving.pid).children()
            yield Stack(port, token, [worker], psutil.Process(front.pid), 0)
        finally:
            front.terminate()
            front.wait()
    finally:
        serving.send_signal(signal.SIGTERM)
        serving.wait()


def report(builtin: Stack, network: Stack, scale: float) -> None:
    print("| CPU ms, processor + Envoy | built-in, Unix socket | grpcio, TCP with mutual TLS |")
    print("|---|---|---|")
    for name in NAMES:
        figures = [_figures(stack, _named(name, rows(stack.token, scale))) for stack in (builtin, network)]
        print(f"| {name} | {' | '.join(figures)} |", flush=True)


def _named(name: str, all_rows: Sequence[Row]) -> Row:
    [found] = [row for row in all_rows if row.name == name]
    return found


def _figures(stack: Stack, row: Row) -> str:
    processor, front, _ = cost(stack, row)
    return f"{processor:.3f} + {front:.3f}"


def main() -> None:
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    with ExitStack() as opened:
        folders = [Path(opened.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        mock = opened.enter_context(mock_model())
        builtin = opened.enter_context(gateway(folders[0], mock))
        report(builtin, opened.enter_context(network_gateway(folders[1], mock)), scale)


if __name__ == "__main__":
    main()
