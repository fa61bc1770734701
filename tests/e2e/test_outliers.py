"""One of a provider's addresses fails: callers do not notice, and it is left alone."""

import json
import time
from pathlib import Path

import httpx

from tests.e2e.bare import bare_envoy, configured, worker
from tests.e2e.stack import GATEWAY, SECONDS, Model, free_port, prompt

CONFIG = GATEWAY.replace("api_key: {env: MODEL_KEY}}", "api_key: {env: MODEL_KEY}, outliers: {failures: 3}}")


def add_address(folder: Path, port: int) -> None:
    """As a name that resolves to one more address would; Envoy watches the file."""
    content = json.loads((folder / "clusters.json").read_text())
    [cluster] = [one for one in content["resources"] if one.get("alt_stat_name") == "provider:openai"]
    [locality] = cluster["load_assignment"]["endpoints"]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    locality["lb_endpoints"].append({"endpoint": {"address": address}})
    (folder / "new").write_text(json.dumps(content))
    (folder / "new").replace(folder / "clusters.json")


def stat(folder: Path, name: str) -> int:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(folder / "admin.sock"), verify=False)) as client:
        found = client.get("http://admin/stats", params={"filter": f"^cluster.provider_openai.{name}$"}).text
    return int(found.rpartition(":")[2] or 0)


def test_an_address_that_fails_is_left_alone(model: Model) -> None:
    with configured(model.url, CONFIG) as setup:
        address = f"unix:{setup.folder}/worker.sock"
        with worker(setup, address), bare_envoy(setup, [address], healthy=1) as stack:
            add_address(setup.folder, free_port())
            deadline = time.monotonic() + SECONDS
            while stat(setup.folder, "membership_total") < 2:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            while not stat(setup.folder, "outlier_detection.ejections_active"):
                assert stack.call(prompt("demo: say hi")).status_code == 200
                assert time.monotonic() < deadline
            failed, spared = stat(setup.folder, "upstream_cx_connect_fail"), 0
            assert failed >= 3
            # Envoy tells its threads within a second.
            while spared < 6:
                assert stack.call(prompt("demo: say hi")).status_code == 200
                before, failed = failed, stat(setup.folder, "upstream_cx_connect_fail")
                spared = spared + 1 if failed == before else 0
                assert time.monotonic() < deadline
