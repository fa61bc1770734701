"""`docker compose --profile budgets up`: budgets counted in Redis, calls kept in PostgreSQL."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.compose.engine import Engine, Failed
from tests.compose.project import Project, project, wait_for
from tests.e2e.stack import PROVIDER_KEY, free_port

SERVICES = ("redis", "postgres", "budgets", "budgets-envoy")


@pytest.fixture(scope="module")
def budgets(engine: Engine, key: Path) -> Iterator[Project]:
    """The gateway with budgets."""
    address = f"127.0.0.1:{free_port()}"
    with project(engine, "extproc-test-budgets", key, profile="budgets", BUDGETS_LISTEN=address) as running:
        yield replace(running, url=f"http://{address}")


def password(budgets: Project, name: str) -> str:
    return budgets.execute("budgets", "cat", f"/run/passwords/{name}")


def redis_cli(budgets: Project, *command: str) -> str:
    secret = password(budgets, "redis")
    return budgets.execute("redis", "redis-cli", "--user", "gateway", "--pass", secret, "--no-auth-warning", *command)


def used(budgets: Project, account: str) -> int:
    """What is used, not counting what calls in progress have reserved."""
    words = redis_cli(budgets, "HGETALL", f"extproc:{{budgets}}:{account}").split()
    return sum(int(words[at + 1]) for at in range(0, len(words) - 1, 2) if words[at].startswith("u:"))


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_is_healthy(budgets: Project, service: str) -> None:
    wait_for(lambda: budgets.inspect(service)["State"]["Health"]["Status"] == "healthy")
    assert budgets.inspect(service)["Config"]["User"] == "65532:65532"


def test_a_call_is_counted_in_redis_and_lands_in_postgresql(budgets: Project) -> None:
    budgets.becomes(200)
    token = budgets.execute("budgets", "extproc", "token", "--keys", "/run/lab", "--team", "spenders").strip()
    assert budgets.call(token=token).status_code == 200
    wait_for(lambda: used(budgets, "team-month\x1fusd\x1fspenders") > 0)
    usage = ("extproc", "usage", "--config", "/etc/extproc/gateway.yaml", "--by", "team", "--format", "json")

    def calls() -> dict[str, int]:
        return {row["team"]: row["calls"] for row in json.loads(budgets.execute("budgets", *usage))}

    wait_for(lambda: calls().get("spenders") == 1)
    psql = ("psql", f"postgresql://gateway:{password(budgets, 'postgres')}@127.0.0.1/usage", "-Atc")
    assert int(budgets.execute("postgres", *psql, "SELECT count(*) FROM extproc_calls")) >= 2
    listed = budgets.execute("budgets", "extproc", "budget", "list", "--config", "/etc/extproc/gateway.yaml")
    assert "spenders" in listed


def test_counters_and_calls_outlive_their_containers(budgets: Project) -> None:
    budgets.becomes(200)
    before = used(budgets, "team-month\x1fusd\x1fdata-platform")
    assert before > 0
    budgets.compose("up", "--detach", "--no-build", "--force-recreate", "redis", "postgres", "budgets", "budgets-envoy")
    budgets.becomes(200)
    wait_for(lambda: used(budgets, "team-month\x1fusd\x1fdata-platform") > before)


def test_without_redis_calls_are_refused(budgets: Project) -> None:
    budgets.becomes(200)
    budgets.compose("stop", "redis")
    budgets.becomes(503)
    budgets.compose("start", "redis")
    budgets.becomes(200)


def test_passwords_are_files(budgets: Project) -> None:
    secrets = [password(budgets, name) for name in ("redis", "postgres")]
    assert len({*secrets}) == 2 and all(len(secret) == 40 for secret in secrets)
    shown = [json.dumps(budgets.inspect(service)) for service in (*SERVICES, "prepare")]
    for text in (*shown, budgets.compose("logs")):
        assert not any(secret in text for secret in (*secrets, PROVIDER_KEY))
    with pytest.raises(Failed):
        budgets.execute("redis", "redis-cli", "--user", "gateway", "--pass", "wrong", "-e", "PING")
    assert "NOAUTH" in budgets.execute("redis", "redis-cli", "GET", "k")
