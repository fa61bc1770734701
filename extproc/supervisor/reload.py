"""A changed configuration, brought into force in the right order by the one process that decides.

Look at the files, check them, show Envoy what is needed by the old and the new, have the workers take it, and when no
exchange of the old is left, show Envoy the new alone. Whatever fails on the way, the old stays.
"""

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from extproc.config import processor_tls
from extproc.config.faults import Fault
from extproc.config.files import DeletedFiles, Files
from extproc.config.loading import Invalid, Source
from extproc.envoy import configuration
from extproc.gateway import gateway
from extproc.gateway.gateway import Gateway
from extproc.policy.keys.key_sets import KeySetSpec, Name
from extproc.policy.keys.places import JwksLocation
from extproc.policy.keys.remote_keys import FetchedKeySets
from extproc.providers import credentials
from extproc.providers.availability import OutcomeSummary
from extproc.providers.cloud_credentials import CredentialSpec, CredentialUpdate
from extproc.supervisor import advice, front
from extproc.supervisor.budgets import BudgetKeeper
from extproc.supervisor.clouds.keeper import KeptCredentials
from extproc.supervisor.front import ConfigRejected, EnvoyControl
from extproc.supervisor.processes import Child, worker
from extproc.supervisor.provider_health import ProviderHealth
from extproc.supervisor.sign_in import SignInState
from extproc.supervisor.usage import LedgerWriter
from extproc.transport import orders
from extproc.transport.status import Status
from extproc.web import topics

log = logging.getLogger("extproc")

LOOK_SECONDS = 0.5
TAKE_SECONDS = 30.0
AT_NEXT_START = (
    "listen.address",
    "listen.port",
    "workers",
    "metrics",
    "health",
    "limits.connections",
    "limits.early_resets",
    "limits.memory_bytes",
    "limits.refusals_logged",
    "store",
    "usage",
    "web",
)


@dataclass(frozen=True)
class Generation:
    number: int
    source: Source
    files: Files
    fetched: list[KeySetSpec]
    credentials: list[CredentialSpec]

    def order(self, *, without_keys: bool = False) -> bytes:
        """`without_keys`: with something else in the place of the providers' keys."""
        hidden = credentials.withheld_files(self.source) if without_keys else set()
        place = credentials.WITHHELD.encode()
        contents = {path: place if path in hidden else content for path, content in self.files.contents.items()}
        return orders.order(self.number, contents)


class WorkerPool:
    """The workers and the web process, and which generations each of them uses."""

    def __init__(
        self,
        greeting: Callable[[bool], bytes],
        wanted: Callable[[Name], None],
        reported: Callable[[OutcomeSummary], None],
    ) -> None:
        """`greeting`: what a process is sent that starts now, with or without the providers' keys. `wanted`: a key is
        missing in a set. `reported`: attempts at a provider have ended."""
        self._greeting = greeting
        self._wanted = wanted
        self._reported = reported
        self._workers: dict[str, Child] = {}
        self._using: dict[str, list[int]] = {}
        self._in_use: list[int] = []
        self._spoken = asyncio.Event()
        self._web = ""
        self.usage: LedgerWriter | None = None
        """Where calls go that workers report."""
        self.budgets = BudgetKeeper(lambda recall: self.tell(orders.encoded(recall)))

    def worker(self, config: Path, address: str, leave: float, environ: Mapping[str, str], probe: str = "") -> Child:
        """One more, not yet started."""

        hear = partial(self._hear, address)
        child = worker(
            config,
            address,
            leave=leave,
            probe=probe,
            environ=environ,
            on_line=hear,
            greeting=partial(self._greet, address),
        )
        self._workers[address] = child
        return child

    def web(self, config: Path, address: str, environ: Mapping[str, str]) -> Child:
        """The process of the pages, not yet started. It takes configurations and key sets as the workers do, but gets
        no key of a provider."""
        argv = [sys.executable, "-m", "extproc.web.process", str(config), address]
        hear = partial(self._hear, address)
        child = Child(f"web {address}", argv, environ=environ, on_line=hear, greeting=partial(self._greeting, True))
        self._workers[address] = child
        self._web = address
        return child

    def _greet(self, address: str) -> bytes:
        self.budgets.started(address)
        return self._greeting(False)

    def _hear(self, address: str, line: str) -> None:
        if (request := orders.budgets(line)) is not None:
            worker = self._workers[address]
            self.budgets.heard(address, request, lambda reply: worker.send(orders.encoded(reply)))
        elif (numbers := orders.using(line)) is not None:
            self._using[address] = numbers
            self._spoken.set()
            in_use = sorted({number for numbers in self._using.values() for number in numbers})
            if in_use != self._in_use:
                self._in_use = in_use
                self.tell(orders.encoded(orders.InUse(in_use)))
        elif (name := orders.wanted(line)) is not None:
            self._wanted(name)
        elif (summary := orders.outcomes(line)) is not None:
            self._reported(summary)
        elif self.usage is not None:
            self.usage.read_worker_line(line)

    @property
    def has_web(self) -> bool:
        return bool(self._web)

    def uses(self, number: int) -> bool:
        return any(number in numbers for numbers in self._using.values())

    def tell(self, message: bytes, *, secret: bool = False) -> None:
        """Whoever starts later hears it from its greeting. `secret`: not for the web process."""
        for address, child in self._workers.items():
            if not (secret and address == self._web):
                child.send(message)

    async def take(self, new: Generation) -> None:
        """Returns when all have taken it. One that has crashed starts with it."""
        for address, child in self._workers.items():
            child.send(new.order(without_keys=address == self._web))
        number = new.number
        try:
            async with asyncio.timeout(TAKE_SECONDS):
                while self._behind(number):
                    self._spoken.clear()
                    await self._spoken.wait()
        except TimeoutError:
            log.error("not all workers have taken configuration %s: %s", number, ", ".join(self._behind(number)))

    def _behind(self, number: int) -> list[str]:
        return [address for address in self._workers if number not in self._using.get(address, ())]


class Reloader:
    def __init__(  # noqa: PLR0913 - the last two have a default
        self,
        path: Path,
        environ: Mapping[str, str],
        front: EnvoyControl | None,
        now: asyncio.Event,
        narrow: Callable[[Source], Source] = lambda source: source,
        *,
        processors: Sequence[str] = (),
    ) -> None:
        """`now`: set when there is to be a reload at once. `narrow`: what the command line changes of the file.
        `processors`: addresses of the workers. Raises config.Invalid."""
        self._path = path
        self._environ = environ
        self._front = front
        self._now = now
        self._processors = processors
        self._keys = FetchedKeySets(self._fetch, tell=self._tell)
        self._fetching: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._counting: asyncio.Task[None] | None = None
        self.health = ProviderHealth(self._tell)
        self.crew = WorkerPool(self.greeting, self._keys.wanted, self.health.reported)
        self.status = Status(cool_downs=self.health.cool_downs)
        self._files = Files()
        self._deleted = DeletedFiles()
        self._warnings: list[str] = []
        made = self._load(self._files)
        self._at_start = made.source
        self._current = Generation(1, narrow(made.source), self._files, made.fetched, made.credentials)
        self._credentials = KeptCredentials(self._tell_credential)
        self.health.use(self._current.source)
        self._sign_in = SignInState(self._at_start, environ, self._tell)
        self._older: list[Generation] = []

    def fetch_keys(self) -> None:
        """From now on, for all workers."""
        self._sign_in.use(self._current.source)
        self.crew.budgets.use(self._current.source, self._environ)
        self._keys.use(self._current.fetched)
        self._credentials.use(self._current.credentials)
        self._fetching = asyncio.create_task(self._keys.run())
        self._looking = asyncio.create_task(self._sign_in.run())
        self._counting = asyncio.create_task(self.crew.budgets.run())

    @property
    def source(self) -> Source:
        return self._current.source

    def greeting(self, without_keys: bool) -> bytes:
        known: list[orders.Message] = [
            *self._keys.news(),
            *self.health.news(),
            *([self._sign_in.revoked] if self._sign_in.revoked.until else []),
            *([] if without_keys else self._credentials.updates()),
        ]
        return b"".join([*map(orders.encoded, known), self._current.order(without_keys=without_keys)])

    async def _fetch(self, place: JwksLocation) -> tuple[object, float | None]:
        return await self._sign_in.fetch(place)

    def _tell(self, news: orders.Message) -> None:
        self.crew.tell(orders.encoded(news))

    def _tell_credential(self, update: CredentialUpdate) -> None:
        self.crew.tell(orders.encoded(update), secret=True)

    async def watch(self) -> None:
        """Reloads when a file changes or a reload is requested, until cancelled."""
        before = self._files.digests
        while True:
            requested = await self._asked_soon()
            present = await asyncio.to_thread(self._files.current_digests)
            await self._look_for_deleted()
            # A file may still be being written, so it is read once two checks have found the same content.
            if requested or before == present != self._files.digests:
                await self.reload()
            before = present
            await self._forget()

    async def reload(self) -> None:
        """Brings the files' present content into force, or says why not."""
        files = Files(deleted=self._deleted.counts(self._current.files))
        try:
            made = await asyncio.to_thread(self._load, files)
            self._check_transport(made.source)
            await self._bring(self._next(made, files), made.source)
        except Invalid as error:
            self._refuse(error.lines)
        except ConfigRejected as error:
            self._refuse([str(error)])
        except Exception as error:  # noqa: BLE001 - what serves goes on serving; the text might quote a secret
            self._refuse([f"{type(error).__name__}: see that its files can be read, and Envoy's written"])
        finally:
            self._files = files

    async def _look_for_deleted(self) -> None:
        """Keys of a file that has been gone for too long end here, also where the newest files are refused."""
        files = self._current.files
        await asyncio.to_thread(self._deleted.look, files)
        left, now = self._deleted.left(files), time.time()
        known, self.status.deleted_key_files = (
            self.status.deleted_key_files,
            {str(path): round(now + seconds, 1) for path, seconds in left.items()},
        )
        for path, seconds in left.items():
            if str(path) not in known:
                log.warning("%s was deleted; its keys stay in use for another %.0f s", path, seconds)
        counts = self._deleted.counts(files)
        if any(counts[path] != files.contents[path] for path in left):
            await self._bring_contents(Files({**files.contents, **counts}))

    async def _bring_contents(self, files: Files) -> None:
        """Brings contents into force that have not been read from the files just now."""
        try:
            made = await asyncio.to_thread(self._load, files)
            await self._bring(self._next(made, files), made.source)
        except Exception as error:  # noqa: BLE001 - what serves goes on serving, and this is tried again in a moment
            why = str(error) if isinstance(error, Invalid | ConfigRejected) else type(error).__name__
            log.error("keys of deleted files are still in use: %s", why)

    def _next(self, made: Gateway, files: Files) -> Generation:
        source = self._in_place(made.source)
        return Generation(self._current.number + 1, source, files, made.fetched, made.credentials)

    def _load(self, files: Files) -> Gateway:
        made = gateway.load(self._path, self._environ, files=files, remote=self._keys)
        if self._front is None:
            processor_tls.check_server(made.source, self._processors)
        else:
            processor_tls.check_both(made.source, self._processors)
            if faults := front.faults(made.source):
                raise made.source.explain(faults)
        known, self._warnings = self._warnings, advice.warnings(made)
        for warning in self._warnings:
            if warning not in known:
                log.warning("%s", warning)
        return made

    @property
    def _on_tcp(self) -> bool:
        return any(map(processor_tls.is_tcp, self._processors))

    def _check_transport(self, source: Source) -> None:
        """A port that is open stays with or without TLS. Raises config.Invalid."""
        before, now = (one.config.processor.tls is None for one in (self._at_start, source))
        if self._on_tcp and before != now:
            raise source.explain([Fault(("processor", "tls"), "is switched on or off by a restart only")])

    def _in_place(self, source: Source) -> Source:
        """What cannot change while Envoy and the workers run stays as it is."""
        place = self._current.source.config
        listen = source.config.listen.model_copy(update={"address": place.listen.address, "port": place.listen.port})
        changes: dict[str, object] = {"listen": listen}
        if self._on_tcp:  # grpcio's limit for messages is set once
            changes["max_body_bytes"] = min(source.config.max_body_bytes, self._at_start.config.max_body_bytes)
        if not self.crew.has_web:  # Envoy is to send nothing to a process that does not run
            changes |= topics.OFF
        return source.replaced(source.config.model_copy(update=changes))

    async def _bring(self, new: Generation, as_written: Source) -> None:
        waiting = [key for key in AT_NEXT_START if _value(as_written, key) != _value(self._at_start, key)]
        if not self.crew.has_web:
            waiting += [key for key in topics.OFF if _value(as_written, key) != _value(new.source, key)]
        if as_written.config.max_body_bytes > new.source.config.max_body_bytes:
            waiting.append("max_body_bytes")
        older = [*self._older, self._current]
        if self._front is not None:
            await self._front.show(new.source, [one.source for one in older])
        elif self._static(new.source) != self._static(self._current.source):
            log.warning("Envoy's configuration has to be rendered again: see `extproc envoy-config`")
        self._older, self._current = older, new
        self._sign_in.use(new.source)
        self.crew.budgets.use(new.source, self._environ)
        self.health.use(new.source)
        self.health.push_soon()
        self._keys.use(new.fetched)
        self._credentials.use(new.credentials)
        # An issuer's calls go on while its keys come from a new place, and a provider's with the credential it has.
        await self._keys.first_fetches()
        await self._credentials.first_fetches()
        await self.crew.take(new)
        self.status.taken(new.number, waiting)
        log.info("configuration %s is in force", new.number)
        if waiting:
            log.warning("these keys wait for the next start: %s", ", ".join(waiting))

    def _static(self, source: Source) -> object:
        return configuration.static(source, self._processors)

    def _refuse(self, why: list[str]) -> None:
        self.status.not_taken(why)
        log.error("configuration not taken, %s stays in force:\n%s", self._current.number, "\n".join(why))

    async def _forget(self) -> None:
        """What only ended exchanges needed, Envoy needs no more."""
        needed = [one for one in self._older if self.crew.uses(one.number)]
        if len(needed) == len(self._older):
            return
        self._older = needed
        if self._front is not None:
            try:
                await self._front.show(self._current.source, [one.source for one in needed])
            except (ConfigRejected, OSError) as error:
                log.error("Envoy's files still have parts that are no longer needed: %s", error)

    async def _asked_soon(self) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._now.wait(), LOOK_SECONDS)
        asked = self._now.is_set()
        self._now.clear()
        return asked


def _value(source: Source, key: str) -> object:
    found: object = source.config
    for part in key.split("."):
        found = getattr(found, part)
    return found
