import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.routing import Route

from extproc.web.app import ROUTES
from extproc.web.context import Context
from extproc.web.topics import ID, TOPICS, Topic, paths
from tests.web.site import Site


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_a_topic_has_routes_for_its_paths_and_no_others(site: Site, topic: Topic) -> None:
    served = [route.path for route in routes_of(site, topic)]
    assert sorted(served) == sorted(topic.paths)
    assert all("*" not in path and "{" not in path.removesuffix(ID) for path in served)


def routes_of(site: Site, topic: Topic) -> Iterator[Route]:
    context: Context = site.context()
    yield from ROUTES[topic.name](context)


def test_every_topic_is_served() -> None:
    assert ROUTES.keys() == {topic.name for topic in TOPICS}


@pytest.mark.parametrize(
    "module", ["extproc.envoy.configuration", "extproc.transport.worker", "extproc.supervisor.reload"]
)
def test_no_other_process_loads_a_web_framework_or_redis(module: str) -> None:
    code = f"import sys, {module}; print([name for name in ('starlette', 'uvicorn', 'redis') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_console_waits_for_the_ledger(site: Site) -> None:
    """Both may be added to the file while the gateway runs, but a ledger begins with a start."""
    config = site.gateway.source.config
    assert "/console" in paths(config)
    assert "/console" not in paths(config.model_copy(update={"usage": None}))


def test_paths_are_exact(site: Site) -> None:
    for path in ("/device/", "/Device", "/device;x=1", "/oauth/token/", "/oauth"):
        assert site.get(path).status_code == 404, path


def test_an_id_is_one_segment(tmp_path: Path) -> None:
    with Site(tmp_path, more="admin: {}") as site:
        below = "/v1/organizations/spend_limits/"
        assert site.get(below + "spl_1").status_code == 401
        for path in ("", "spl_1/", "spl_1/x", "spl.1", "%2e%2e", "spl_1%2fx", "é"):
            assert site.get(below + path).status_code == 404, path


def test_other_methods(site: Site) -> None:
    for path in ("/oauth/token", "/device/deny", "/oauth/revoke"):
        assert site.get(path).status_code == 405
    assert site.post("/oauth/callback", {}).status_code == 405
