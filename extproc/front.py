"""Envoy as it runs beside us: told by files in its folder, asked over its admin socket."""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from extproc import envoy
from extproc.config import Fault, Source

SECONDS = 30.0
KEYS_SECONDS = 5.0
LOOK_SECONDS = 0.02
# Envoy's threads get new routes a moment after it has said so, and a request keeps the routes that it came with.
SPREAD_SECONDS = 0.5
UNSEEN_SECONDS = 3.0
ANSWER_SECONDS = 5.0
READY_SECONDS = 1.0
_VERSIONS = {
    "clusters.json": "cluster_manager.cds.version_text",
    "routes.json": "http.gateway.rds.gateway.version_text",
    "listeners.json": "listener_manager.lds.version_text",
}
_REJECTED = tuple(
    name.replace("version_text", end) for name in _VERSIONS.values() for end in ("update_rejected", "update_failure")
)
_WARMING = ("cluster_manager.warming_clusters", "listener_manager.total_listeners_warming")
_HEALTHY = f"cluster.{envoy.PROCESSOR}.membership_healthy"
_ACTIVE = "http.gateway.downstream_rq_active"
_LISTENING = {"listener_manager.total_listeners_active": "1"}
_COUNTS = ("total_listeners_active", _HEALTHY, _ACTIVE)
Stats = dict[str, str]


class NotTaken(Exception):
    """Envoy did not take what it was shown; `str()` says in what way."""


class Front:
    def __init__(self, folder: Path, processors: Sequence[str]) -> None:
        self._folder = folder
        self._processors = processors
        self._shown: dict[str, envoy.Json] = {}
        self._open = False

    async def begin(self, source: Source) -> None:
        """Write all files for an Envoy that starts in the folder now. Its listener stays closed until `open`: a port
        that accepts calls before a worker is healthy answers them with 503. An Envoy that runs here already keeps its
        listener, since closing it would end connections. Raises OSError."""
        self._shown = envoy.live(source, self._processors)
        self._open = self._has_listener() and await self.running_here()
        envoy.write(source, self._processors, self._folder, listening=self._open)

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
        """Returns when Envoy serves `source` and whatever `older` still needs. Raises NotTaken and OSError; then it has
        been shown again what it had before."""
        files = envoy.live(source, self._processors, older)
        changed = {name: content for name, content in files.items() if self._shown.get(name) != content}
        # A secret's file names another, whose content may have changed.
        changed |= {name: content for name, content in files.items() if name not in _VERSIONS}
        if not changed:
            return
        before = await self._stats()
        try:
            version = self._write(changed)
            await self._taken(before, {_VERSIONS[name]: version for name in changed if name in _VERSIONS})
        except (NotTaken, OSError):
            self._write(self._shown)
            raise
        for name in self._shown.keys() - files.keys():
            (self._folder / name).unlink(missing_ok=True)
        self._shown = files

    async def healthy(self, *, fetching: bool = False) -> None:
        """Return when Envoy has found all workers healthy. `fetching`: workers may wait for the keys of an identity
        provider that is down, so return after KEYS_SECONDS in any case. Raises NotTaken."""
        with contextlib.suppress(*([NotTaken] if fetching else [])):
            await self._reached({_HEALTHY: str(len(self._processors))}, KEYS_SECONDS if fetching else SECONDS)

    async def listening(self) -> None:
        """Return when Envoy accepts connections. Raises NotTaken."""
        await self._reached(_LISTENING, SECONDS)

    async def _reached(self, wanted: Stats, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not wanted.items() <= (await self._stats() or {}).items():
            if time.monotonic() > deadline:
                raise NotTaken("Envoy did not begin to serve in time; see its messages above")
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
                live = "LIVE" in (await self._ask("/ready") or [])
                return live and (await self._stats() or {}).get(_HEALTHY, "0") != "0"
        return False

    async def drain(self) -> None:
        """From now on it takes no new connection, and each answer closes the one it goes out on."""
        for path in ("/healthcheck/fail", "/drain_listeners?inboundonly"):
            await self._ask(path, "POST")

    async def running(self) -> int:
        """Calls; 0 where no Envoy answers."""
        return int((await self._stats() or {}).get(_ACTIVE, 0))

    async def finished(self, seconds: float) -> None:
        """Returns when none runs any more, or after so long."""
        deadline = time.monotonic() + seconds
        while await self.running():
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(LOOK_SECONDS)

    def _write(self, files: Mapping[str, envoy.Json]) -> str:
        version = str(time.time_ns())
        for name, content in files.items():
            envoy.replace(self._folder / name, {"version_info": version, **content})
        return version

    async def _taken(self, before: Stats | None, versions: Mapping[str, str]) -> None:
        """Where no Envoy answers it is down and reads the files when it starts, or it is out of sight."""
        if before is None:
            await asyncio.sleep(UNSEEN_SECONDS)
            return
        deadline = time.monotonic() + SECONDS
        while (now := await self._stats()) is not None:
            if any(now.get(name) != before.get(name) for name in _REJECTED):
                raise NotTaken("Envoy refuses what this configuration would have it do; see its messages")
            if versions.items() <= now.items() and all(now.get(name) == "0" for name in _WARMING):
                break
            if time.monotonic() > deadline:
                raise NotTaken(f"Envoy was not ready for this configuration after {SECONDS:g} s")
            await asyncio.sleep(LOOK_SECONDS)
        await asyncio.sleep(SPREAD_SECONDS)

    async def _stats(self) -> Stats | None:
        """None where there is no Envoy."""
        names = [*_VERSIONS.values(), *_REJECTED, *_WARMING, *_COUNTS]
        answer = await self._ask(f"/stats?filter={'%7C'.join(names)}")
        if answer is None:
            return None
        rows = (line.partition(": ") for line in answer)
        return {name: value.strip('"') for name, _, value in rows}

    async def _ask(self, path: str, method: str = "GET") -> list[str] | None:
        """Lines of what Envoy's administration answers; none where it hangs, None where there is no Envoy."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._folder / "admin.sock")
        except OSError:
            return None
        try:
            head = f"{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            writer.write(head.encode())
            return (await asyncio.wait_for(reader.read(), ANSWER_SECONDS)).decode().splitlines()
        except TimeoutError:
            return []
        except OSError:
            return None
        finally:
            writer.close()


def faults(source: Source) -> list[Fault]:
    """Of certificates, which Envoy would refuse, or notice only with the next connection."""
    found: list[Fault] = []
    tls = source.config.listen.tls
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(source.resolve(tls.certificate), source.resolve(tls.key), password="")
        except (OSError, ValueError):
            found.append(Fault(("listen", "tls"), "expected a certificate in PEM and the key that belongs to it"))
    for name, provider in source.config.providers.items():
        if provider.ca_file is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(source.resolve(provider.ca_file))
            except (OSError, ValueError):
                where = ("providers", name, "ca_file")
                found.append(Fault(where, f"{provider.ca_file} holds no certificate in PEM that can be read"))
    return found
