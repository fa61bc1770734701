"""Envoy as it runs beside us: told by files in its folder, asked over its admin socket."""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from extproc.config.faults import Fault, Where
from extproc.config.loading import Source
from extproc.config.processor_tls import PAIR
from extproc.config.schema_tls import Tls
from extproc.envoy import configuration
from extproc.envoy.listener import SECRETS
from extproc.supervisor.envoy_admin import EnvoyAdmin, Stats

SECONDS = 30.0
KEYS_SECONDS = 5.0
LOOK_SECONDS = 0.02
# Envoy's threads get new routes a moment after it has said so, and a request keeps the routes that it came with.
SPREAD_SECONDS = 0.5
UNSEEN_SECONDS = 3.0
READY_SECONDS = 1.0
VERSIONS = {
    "clusters.json": "cluster_manager.cds.version_text",
    "routes.json": "http.gateway.rds.gateway.version_text",
    "listeners.json": "listener_manager.lds.version_text",
}
_REJECTED = tuple(
    name.replace("version_text", end) for name in VERSIONS.values() for end in ("update_rejected", "update_failure")
)
_WARMING = ("cluster_manager.warming_clusters", "listener_manager.total_listeners_warming")
_HEALTHY = f"cluster.{configuration.PROCESSOR}.membership_healthy"
_ACTIVE = "http.gateway.downstream_rq_active"
_LEFT_OUT = "access_log.process_ratelimit.denied"
_LISTENERS = "listener_manager.total_listeners_active"
_COUNTS = ("total_listeners_active", _HEALTHY, _ACTIVE, _LEFT_OUT)


class ConfigRejected(Exception):
    """Envoy did not take what it was shown; `str()` says in what way."""


class EnvoyControl:
    def __init__(self, folder: Path, processors: Sequence[str], admin: EnvoyAdmin | None = None) -> None:
        """`admin`: the administration of an Envoy that does not listen in the folder."""
        self._folder = folder
        self._admin = admin or EnvoyAdmin(folder / "admin.sock")
        self._processors = processors
        self._shown: dict[str, configuration.Json] = {}
        self._open = False

    async def begin(self, source: Source) -> None:
        """Write all files for an Envoy that starts in the folder now. Its listener stays closed until `open`: a port
        that accepts calls before a worker is healthy answers them with 503. An Envoy that runs here already keeps its
        listener, since closing it would end connections. Raises OSError."""
        self._shown = configuration.live(source, self._processors)
        self._open = self._has_listener() and await self.running_here()
        configuration.write(source, self._processors, self._folder, listening=self._open)

    def open(self) -> None:
        """Open the listener. Raises OSError."""
        if not self._open:
            self._write({"listeners.json": self._shown["listeners.json"]})
            self._open = True

    def _has_listener(self) -> bool:
        try:
            return bool(json.loads((self._folder / "listeners.json").read_text("utf-8"))["resources"])
        except (OSError, ValueError, KeyError):
            return False

    async def show(self, source: Source, older: Sequence[Source]) -> None:
        """Returns when Envoy serves `source` and whatever `older` still needs. Raises ConfigRejected and OSError; then
        it has been shown again what it had before."""
        files = configuration.live(source, self._processors, older)
        changed = {name: content for name, content in files.items() if self._shown.get(name) != content}
        # A secret's file names another, whose content may have changed.
        changed |= {name: content for name, content in files.items() if name.startswith(SECRETS)}
        if not changed:
            return
        before = await self._stats()
        try:
            version = self._write(changed)
            await self._taken(before, {VERSIONS[name]: version for name in changed if name in VERSIONS})
        except (ConfigRejected, OSError):
            self._write(self._shown)
            raise
        for name in self._shown.keys() - files.keys():
            (self._folder / name).unlink(missing_ok=True)
        self._shown = files

    async def healthy(self, *, fetching: bool = False) -> None:
        """Return when Envoy has found all workers healthy. `fetching`: workers may wait for the keys of an identity
        provider that is down, so return after KEYS_SECONDS in any case. Raises ConfigRejected."""
        with contextlib.suppress(*([ConfigRejected] if fetching else [])):
            await self._reached({_HEALTHY: str(len(self._processors))}, KEYS_SECONDS if fetching else SECONDS)

    async def listening(self) -> None:
        """Return when Envoy accepts connections, on all of its listeners if we have begun it. Raises ConfigRejected."""
        shown = self._shown.get("listeners.json", {"resources": [None]})
        await self._reached({_LISTENERS: str(len(shown["resources"]))}, SECONDS)

    async def _reached(self, wanted: Stats, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not wanted.items() <= (await self._stats() or {}).items():
            if time.monotonic() > deadline:
                raise ConfigRejected("Envoy did not begin to serve in time; see its messages above")
            await asyncio.sleep(0.01)

    async def running_here(self) -> bool:
        """Whether an Envoy answers on the admin socket in the folder."""
        return await self._stats() is not None

    async def ready(self) -> bool:
        """It is live, accepts calls, and finds a worker healthy, which it may learn later than we do."""
        if not self._open:
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                return await self._admin.ready() and (await self._stats() or {}).get(_HEALTHY, "0") != "0"
        return False

    async def drain(self) -> None:
        """From now on it takes no new connection, and each answer closes the one it goes out on."""
        # The first makes answers close their connections, the second takes no new ones:
        # https://www.envoyproxy.io/docs/envoy/latest/operations/admin.
        for path in ("/healthcheck/fail", "/drain_listeners?inboundonly"):
            await self._admin.post(path)

    async def running(self) -> int:
        """Calls; 0 where no Envoy answers."""
        return int((await self._stats() or {}).get(_ACTIVE, 0))

    async def log_left_out(self) -> int:
        """Refusals of its own that it has not logged since its start."""
        return int((await self._stats() or {}).get(_LEFT_OUT, 0))

    async def finished(self, seconds: float) -> None:
        """Returns when none runs any more, or after so long."""
        deadline = time.monotonic() + seconds
        while await self.running():
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(LOOK_SECONDS)

    def _write(self, files: Mapping[str, configuration.Json]) -> str:
        # Envoy shows the version that it has taken as the statistic `version_text`.
        version = str(time.time_ns())
        for name, content in files.items():
            configuration.replace(self._folder / name, {"version_info": version, **content})
        return version

    async def _taken(self, before: Stats | None, versions: Mapping[str, str]) -> None:
        """Where no Envoy answers it is down and reads the files when it starts, or it is out of sight."""
        if before is None:
            await asyncio.sleep(UNSEEN_SECONDS)
            return
        deadline = time.monotonic() + SECONDS
        while (now := await self._stats()) is not None:
            if any(now.get(name) != before.get(name) for name in _REJECTED):
                raise ConfigRejected("Envoy refuses what this configuration would have it do; see its messages")
            # A new cluster serves only when its name is resolved, and a new listener when its clusters are there:
            # https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/cluster_manager#cluster-warming.
            if versions.items() <= now.items() and all(now.get(name) == "0" for name in _WARMING):
                break
            if time.monotonic() > deadline:
                raise ConfigRejected(f"Envoy was not ready for this configuration after {SECONDS:g} s")
            await asyncio.sleep(LOOK_SECONDS)
        await asyncio.sleep(SPREAD_SECONDS)

    async def _stats(self) -> Stats | None:
        """None where there is no Envoy."""
        return await self._admin.stats([*VERSIONS.values(), *_REJECTED, *_WARMING, *_COUNTS])


def faults(source: Source) -> list[Fault]:
    """Returns mistakes in certificates that Envoy would refuse, or would notice only with the next connection."""
    found: list[Fault] = []
    pairs: list[tuple[Where, Tls | None]] = [(("listen", "tls"), source.config.listen.tls)]
    pairs.append((("processor", "client"), source.config.processor.client))
    for where, tls in pairs:
        if tls is not None and not _is_pair(source, tls):
            found.append(Fault(where, PAIR))
    roots: list[tuple[Where, Path | None]] = [
        (("providers", name, "ca_file"), provider.ca_file) for name, provider in source.config.providers.items()
    ]
    if source.config.listen.tls is not None:
        roots.append((("listen", "tls", "client_ca"), source.config.listen.tls.client_ca))
    if source.config.processor.client is not None:
        roots.append((("processor", "client", "ca_file"), source.config.processor.client.ca_file))
    for where, path in roots:
        if path is not None and not _has_certificates(source, path):
            found.append(Fault(where, f"{path} holds no certificate in PEM that can be read"))
    return found


def _is_pair(source: Source, tls: Tls) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password OpenSSL would ask for an encrypted key's on the terminal.
        context.load_cert_chain(source.resolve(tls.certificate), source.resolve(tls.key), password="")
    except (OSError, ValueError):
        return False
    return True


def _has_certificates(source: Source, path: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(source.resolve(path))
    except (OSError, ValueError):
        return False
    return True
