"""The same mock behind an Envoy without a processor: what is left is what identity, policy and translation add."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.stack import ENVOY, answers, free_port
from extproc.supervisor import up

_BOOTSTRAP = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {types}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: alone
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: mock, timeout: 0s}}}}]}}
          http_filters:
          - {{name: envoy.filters.http.router, typed_config: {{"@type": {types}.filters.http.router.v3.Router}}}}
  clusters:
  - name: mock
    circuit_breakers: {{thresholds: [{{max_connections: 10000, max_requests: 10000, max_pending_requests: 10000}}]}}
    load_assignment:
      cluster_name: mock
      endpoints:
      - lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {mock}}}}}}}}}]
"""


@contextmanager
def envoy_alone(folder: Path, mock: int) -> Iterator[int]:
    """Its port."""
    port = free_port()
    text = _BOOTSTRAP.format(port=port, mock=mock, types="type.googleapis.com/envoy.extensions")
    (folder / "bootstrap.yaml").write_text(text)
    argv = [up.binary_path(), "-c", "bootstrap.yaml", *ENVOY]
    process = subprocess.Popen(argv, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    try:
        while not answers(port):
            assert process.poll() is None
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()
