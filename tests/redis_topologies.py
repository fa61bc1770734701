"""Real Redis servers that replace one that is gone: a primary that a Sentinel watches, and a cluster. Both with TLS, a
user and passwords."""

import asyncio
import contextlib
import gc
import subprocess
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import redis
from redis.crc import key_slot

from extproc.config.schema_store import Redis
from tests.certificates import Authority
from tests.e2e.stack import free_port
from tests.redis_server import SECONDS, RedisServer, binary

USER, PASSWORD, SENTINEL_PASSWORD, SERVICE = "gateway", "correct-horse", "battery-staple", "mymaster"
SLOTS = 16384
T = TypeVar("T")
BUDGETS_KEY = "extproc:{budgets}:"
"""Has the slot of all counters of budgets."""
PATIENT, IMPATIENT = 30_000, 700
"""Milliseconds after which a server that does not answer counts as gone; those of a busy machine take a while."""


@dataclass
class Topology:
    url: str
    ca_file: str
    budgets: RedisServer
    """The primary that has the counters of budgets."""

    def settings(self, **keys: Any) -> Redis:
        """With more time than many TLS handshakes take on a busy machine."""
        sentinel = {"password": {"env": "SENTINEL_PASSWORD"}} if "+sentinel" in self.url else None
        return Redis.model_validate({"url": self.url, "username": USER, "timeout": 10, "sentinel": sentinel, **keys})

    @property
    def access(self) -> tuple[str, str, str]:
        """As the store's constructors take it."""
        return PASSWORD, self.ca_file, SENTINEL_PASSWORD


def play(scene: Coroutine[Any, Any, T]) -> T:
    """Runs it, and waits until the client has closed connections that it left to tasks of its own."""

    async def whole() -> T:
        async with asyncio.timeout(120):
            found = await scene
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)
        return found

    try:
        return asyncio.run(whole())
    finally:
        with warnings.catch_warnings():
            # A connection that is given up while it is made is left to the collector by redis-py.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@contextlib.contextmanager
def sentinel(folder: Path, patience: int = PATIENT) -> Iterator[Topology]:
    """A primary with one replica and one Sentinel."""
    with ExitStack() as running:
        primary, replica = (_server(folder, f"server-{number}", running) for number in range(2))
        _admin(replica).replicaof("localhost", primary.port)
        _until(lambda: _is_replicated(primary))
        port = free_port()
        path = folder / "sentinel.conf"
        path.write_text("\n".join([f"port 0\ntls-port {port}", *_sentinel_lines(primary, folder, patience)]))
        argv = [binary(), str(path), "--sentinel"]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        running.callback(process.wait, SECONDS)
        running.callback(process.kill)
        watching = redis.Redis(port=port, password=SENTINEL_PASSWORD, **_tls(folder))
        _until(lambda: len(watching.sentinel_slaves(SERVICE)) == 1)
        watching.close()
        yield Topology(f"rediss+sentinel://localhost:{port}/{SERVICE}", f"{folder}/ca.pem", primary)


def _sentinel_lines(primary: RedisServer, folder: Path, patience: int) -> list[str]:
    certificate = [f"{name[2:]} {value}" for name, value in _tls_options(folder).items()]
    return [
        "bind 127.0.0.1",
        f"dir {folder}",
        *certificate,
        f"requirepass {SENTINEL_PASSWORD}",
        f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 1",
        f"sentinel auth-user {SERVICE} admin",
        f"sentinel auth-pass {SERVICE} {PASSWORD}",
        f"sentinel down-after-milliseconds {SERVICE} {patience}",
        f"sentinel failover-timeout {SERVICE} 3000",
    ]


@contextlib.contextmanager
def cluster(folder: Path, patience: int = PATIENT) -> Iterator[Topology]:
    """Three primaries, of which the one with the counters of budgets has a replica."""
    with ExitStack() as running:
        options = {"--cluster-enabled": "yes", "--tls-cluster": "yes", "--cluster-node-timeout": str(patience)}
        servers = [
            _server(folder, f"node-{number}", running, **options, **{"--cluster-port": str(free_port())})
            for number in range(4)
        ]
        primaries, replica = servers[:3], servers[3]
        share = -(-SLOTS // len(primaries))
        for number, server in enumerate(servers):
            node: Any = _admin(server)
            node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if server is not replica:
                last = min(SLOTS, (number + 1) * share) - 1
                node.execute_command("CLUSTER", "ADDSLOTSRANGE", number * share, last)
            else:
                node.config_set("cluster-replica-validity-factor", 0)
            for other in servers[:number]:
                bus = int(_admin(other).config_get("cluster-port")["cluster-port"])
                node.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port, bus)
        for server in servers:
            _until(lambda server=server: _cluster(server) == ("ok", "4"))  # type: ignore[misc]
        owner = primaries[key_slot(BUDGETS_KEY.encode()) // share]
        _admin(replica).execute_command("CLUSTER", "REPLICATE", _admin(owner).execute_command("CLUSTER", "MYID"))
        _until(lambda: _is_replicated(owner))
        nodes = ",".join(f"localhost:{server.port}" for server in primaries)
        yield Topology(f"rediss+cluster://{nodes}", f"{folder}/ca.pem", owner)


def _cluster(server: RedisServer) -> tuple[str, str]:
    told = _admin(server).execute_command("CLUSTER INFO")
    return told["cluster_state"], told["cluster_known_nodes"]


def _is_replicated(primary: RedisServer) -> bool:
    node = _admin(primary)
    node.set(BUDGETS_KEY, "1", px=1)
    return bool(node.wait(1, 100))


def _server(folder: Path, name: str, running: ExitStack, **options: str) -> RedisServer:
    if not (folder / "redis.pem").exists():
        Authority(folder).issue("redis", "localhost", "127.0.0.1")
    (folder / name).mkdir()
    users = [*["--user", USER, "on", f">{PASSWORD}", "~*", "+@all"], *["--user", "default", "off"]]
    users += ["--user", "admin", "on", f">{PASSWORD}", "~*", "&*", "+@all"]
    given = _tls_options(folder) | {"--masteruser": "admin", "--masterauth": PASSWORD} | options
    given["--repl-diskless-sync-delay"] = "0"
    server = RedisServer(folder / name, [word for pair in given.items() for word in pair] + users, tls=True)
    running.callback(server.stop)
    server.start()
    return server


def _tls_options(folder: Path) -> dict[str, str]:
    pair = {"--tls-cert-file": f"{folder}/redis.pem", "--tls-key-file": f"{folder}/redis.key"}
    return pair | {"--tls-ca-cert-file": f"{folder}/ca.pem", "--tls-auth-clients": "no", "--tls-replication": "yes"}


def _tls(folder: Path) -> dict[str, Any]:
    return {"ssl": True, "ssl_ca_certs": f"{folder}/ca.pem"}


def _admin(server: RedisServer) -> Any:
    tls = _tls(server.folder.parent)
    return redis.Redis(port=server.port, username="admin", password=PASSWORD, decode_responses=True, **tls)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the servers did not find each other"
        time.sleep(0.05)
