"""Counters of several machines, in Redis or Valkey. Each question is one script, which is atomic, and one round trip.

An account is a hash: `u:BUCKET` is what was used, `h:HOLDER` is what a machine holds. What a machine holds counts as
long as its lease is there, so that nothing stays held when a machine is gone. Where the answer to a claim was lost,
nobody knows whether it was granted; the machine then goes on under another name, and lets the lease of the former one
end as soon as all calls have ended that it is known to hold something for.

All keys have one hash tag, so that a script finds them in one slot of a cluster:
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
"""

import asyncio
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from extproc.config.schema_store import Redis
from extproc.store.counters import AccountState, Claim, Settlement, Taken, within_limit
from extproc.store.interface import MaybeDone, StoreDown
from extproc.store.overrides import MAX_CHANGES, Change, Edit, Override, decode
from extproc.store.redis_client import Script, as_store_down, close, connect, drop_idle
from extproc.store.shared import literal

LEASE_SECONDS = 30.0
RENEW_SECONDS = 5.0
RETRY_SECONDS = 0.5
"""After a failure nobody tries again for so long, so that calls need not wait for a store that does not answer."""
MAX_BATCH = 500
MAX_CONNECTIONS = 32
READ_AT_ONCE = 8
"""Accounts that are read for a list at the same time; calls need connections, too."""
_LASTING_SECONDS = 7 * 86400
_LONGEST_SECONDS = 402 * 86400
_MARGIN_SECONDS = 60

# Leases are read though they are not among KEYS: their names are in the hashes, and the tag keeps them in one slot.
_TAKE = """
local leases, me = ARGV[1], ARGV[2]
redis.call('SET', leases .. me, '1', 'PX', ARGV[3])
local found, refused, later = {}, -1, 0
for i, key in ipairs(KEYS) do
  local at = 4 + (i - 1) * 5
  local amount, limit, oldest = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local fields = redis.call('HGETALL', key)
  local used, held = 0, 0
  for j = 1, #fields, 2 do
    local name, value = string.sub(fields[j], 3), tonumber(fields[j + 1])
    if string.sub(fields[j], 1, 1) == 'u' then
      if tonumber(name) >= oldest then
        used = used + value
      elseif #fields > 400 then
        redis.call('HDEL', key, fields[j])
      end
    elseif name == me or redis.call('EXISTS', leases .. name) == 1 then
      held = held + value
    else
      redis.call('HDEL', key, fields[j])
    end
  end
  found[i] = used + held
  if refused < 0 and ARGV[at + 3] == '0' and (found[i] + amount > limit or limit == 0) then
    refused = i - 1
    later = limit > 0 and used + amount <= limit and 1 or 0
  end
end
if refused < 0 then
  for i, key in ipairs(KEYS) do
    local at = 4 + (i - 1) * 5
    if ARGV[at] ~= '0' then redis.call('HINCRBY', key, 'h:' .. me, ARGV[at]) end
    if redis.call('TTL', key) < tonumber(ARGV[at + 4]) then redis.call('EXPIRE', key, ARGV[at + 4]) end
  end
end
return {refused, later, unpack(found)}
"""
# `%.0f`, because Lua writes large numbers as 1e+15.
_SETTLE = """
local done, number = KEYS[1], tonumber(ARGV[1])
if tonumber(redis.call('GET', done) or '0') >= number then return 0 end
redis.call('SET', done, ARGV[1], 'EX', 86400)
for i = 2, #KEYS do
  local key, at = KEYS[i], 2 + (i - 2) * 5
  local holder = 'h:' .. ARGV[at]
  local left = tonumber(redis.call('HGET', key, holder) or '0') - tonumber(ARGV[at + 1])
  if left > 0 then
    redis.call('HSET', key, holder, string.format('%.0f', left))
  else
    redis.call('HDEL', key, holder)
  end
  if ARGV[at + 2] ~= '0' then
    redis.call('HINCRBY', key, 'u:' .. ARGV[at + 3], ARGV[at + 2])
    if redis.call('TTL', key) < tonumber(ARGV[at + 4]) then redis.call('EXPIRE', key, ARGV[at + 4]) end
  end
end
return 1
"""
_AUDIT = """
local function audit(key, change, most)
  local number = redis.call('HINCRBY', key, 'last', 1)
  redis.call('HSET', key, string.format('%.0f', number), change)
  redis.call('HDEL', key, string.format('%.0f', number - tonumber(most)))
end
"""
_OVERRIDE = f"""{_AUDIT}
local account, before, after, change = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if (redis.call('HGET', KEYS[1], account) or '') ~= before then return 0 end
if after == '' then
  redis.call('HDEL', KEYS[1], account)
else
  redis.call('HSET', KEYS[1], account, after)
end
audit(KEYS[2], change, ARGV[5])
return 1
"""
_RESET = f"""{_AUDIT}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 2) == 'u:' then redis.call('HDEL', KEYS[1], fields[i]) end
end
audit(KEYS[2], ARGV[1], ARGV[2])
return 1
"""
_STATE = """
local fields, found = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #fields, 2 do
  local name = fields[i]
  if string.sub(name, 1, 1) == 'u' or redis.call('EXISTS', ARGV[1] .. string.sub(name, 3)) == 1 then
    found[#found + 1] = name
    found[#found + 1] = fields[i + 1]
  end
end
return found
"""
"""Without what machines hold that are gone."""
_CHANGES = """
local last, found = tonumber(redis.call('HGET', KEYS[1], 'last') or '0'), {}
for number = last, math.max(1, last - tonumber(ARGV[1]) + 1), -1 do
  local change = redis.call('HGET', KEYS[1], string.format('%.0f', number))
  if change then found[#found + 1] = change end
end
return found
"""
MAX_UNSENT = 10_000
"""Lines of settlements that are kept as they are; more of them are added up."""
_EDITS = 5
"""An override is edited so often again where another machine has changed it meanwhile."""
_Line = tuple[str, list[str]]
"""A settlement as the script takes it: the account, and its five arguments."""


class SharedCounters:
    """See counters.Counters. A slice would be kept back from other machines, so exactly what is needed is taken."""

    def __init__(
        self,
        settings: Redis,
        password: str | None = None,
        ca_file: str | None = None,
        sentinel_password: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Connects with the first operation. `clock`: Unix seconds."""
        # A claim that is sent twice could be granted twice. `_send` repeats settlements, each of which counts once.
        self._redis = connect(settings, password, ca_file, sentinel_password, retries=0)
        self._reader = connect(settings, password, ca_file, sentinel_password)
        self._seconds = settings.timeout
        self._prefix = f"{settings.prefix}{{budgets}}:"
        self._take = Script(self._redis, _TAKE)
        self._settle = Script(self._redis, _SETTLE)
        self._override = Script(self._redis, _OVERRIDE)
        self._reset = Script(self._redis, _RESET)
        self._state = Script(self._reader, _STATE)
        self._changes = Script(self._reader, _CHANGES)
        self._clock = clock
        self._machine = secrets.token_hex(6)
        self._names: dict[str, Counter[tuple[str, str]]] = {self._new_name(): Counter()}
        """What is held, by worker and account, under each name of this machine; the last one is the present one."""
        self._unsent: deque[_Line] = deque()
        self._most_unsent = MAX_UNSENT
        self._batch: list[_Line] = []
        """Sent, and not yet known to have arrived."""
        self._number = 0
        self._sending = asyncio.Lock()
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)
        self._down_until = self._renewed = -LEASE_SECONDS
        """By the monotonic clock: the other one may jump."""

    async def take(self, holder: str, claims: Sequence[Claim], holders: int) -> Taken:
        self._raise_if_down()
        claims = [within_limit(claim) for claim in claims]
        async with self._room:
            self._raise_if_down()  # one that waited for its turn waits no further
            return await self._taken(holder, claims)

    def _raise_if_down(self) -> None:
        if time.monotonic() < self._down_until:
            raise StoreDown("it could not be reached a moment ago")

    async def _taken(self, holder: str, claims: Sequence[Claim]) -> Taken:
        now = self._clock()
        name, held = next(reversed(self._names.items()))
        arguments = [self._prefix + "lease:", name, str(round(LEASE_SECONDS * 1000))]
        for one in claims:
            seconds = _ttl(one.ends, now)
            arguments += map(str, (one.amount, one.limit, one.oldest, int(one.observed), seconds))
        try:
            async with as_store_down(self._seconds):
                keys = [self._prefix + one.account for one in claims]
                refused, later, *used = await self._take(keys, arguments)
        except (StoreDown, asyncio.CancelledError) as error:
            self._down_until = time.monotonic() + RETRY_SECONDS
            self._rename()
            if isinstance(error, StoreDown):
                await drop_idle(self._redis)
            raise
        limits = [one.limit for one in claims]
        if refused >= 0:
            return Taken([], used, limits, refused, bool(later))
        for one in claims:
            held[holder, one.account] += one.amount
        if name not in self._names:  # another claim has failed meanwhile
            self._names = {name: held, **self._names}
        return Taken([one.amount for one in claims], used, limits)

    async def settle(self, holder: str, settlements: Sequence[Settlement]) -> None:
        """What cannot be sent now is sent by `renew`."""
        now = self._clock()
        for one in settlements:
            self._unsent += self._lines(holder, one, now)
        if len(self._unsent) > self._most_unsent:  # Redis is down
            self._unsent = _merged(self._unsent)
            self._most_unsent = max(MAX_UNSENT, 2 * len(self._unsent))
        if time.monotonic() >= self._down_until:
            await self._send()

    async def end(self, holder: str) -> None:
        now = self._clock()
        for held in self._names.values():
            for worker, account in list(held):
                if worker == holder:
                    released = held[worker, account]
                    self._unsent += self._lines(holder, Settlement(account, 0, 0, 0, released), now)

    async def states(self, accounts: Sequence[str] | None = None) -> list[AccountState]:
        found = []
        names = [self._prefix + one for one in accounts or ()]
        if accounts is None:
            every = f"{literal(self._prefix)}*\x1f*"
            async with as_store_down(self._seconds):
                keys = [_text(key) async for key in self._reader.scan_iter(match=every, count=MAX_BATCH)]
            names = list(dict.fromkeys(keys))  # Redis may return one several times
        for start in range(0, len(names), READ_AT_ONCE):
            some = names[start : start + READ_AT_ONCE]
            async with as_store_down(self._seconds):
                hashes = await asyncio.gather(*(self._state([name], [self._prefix + "lease:"]) for name in some))
            for name, flat in zip(some, hashes, strict=True):
                fields = dict(zip(map(_text, flat[::2]), map(int, flat[1::2]), strict=True))
                used = {int(key[2:]): value for key, value in fields.items() if key.startswith("u:")}
                held = sum(value for key, value in fields.items() if key.startswith("h:"))
                found.append(AccountState(name.removeprefix(self._prefix), used, held))
        return found

    async def reset(self, account: str, change: Change) -> None:
        await self._send()
        keys = [self._prefix + account, self._prefix + "changes"]
        await self._change(self._reset, keys, [msgspec.json.encode(change), MAX_CHANGES])

    async def overrides(self) -> dict[str, Override]:
        async with as_store_down(self._seconds):
            found = await self._hash(self._prefix + "overrides")
        return {account: decode(value) for account, value in found.items()}

    async def override(self, account: str, edit: Edit) -> Change:
        for _ in range(_EDITS):
            async with as_store_down(self._seconds):
                before = await self._reader.hget(self._prefix + "overrides", account) or b""
            changed, change = edit(decode(before) if before else Override())
            after = b"" if changed.is_empty else msgspec.json.encode(changed)
            if await self._replace(account, before, after, change):
                return change
        raise StoreDown("others have changed the same limit at the same time")

    async def changes(self, limit: int) -> list[Change]:
        async with as_store_down(self._seconds):
            found = await self._changes([self._prefix + "changes"], [limit])
        return [msgspec.json.decode(value, type=Change) for value in found]

    async def _replace(self, account: str, before: bytes | str, after: bytes, change: Change) -> bool:
        """Replaces an override, unless it is `before` no more, and adds to the audit."""
        keys = [self._prefix + "overrides", self._prefix + "changes"]
        arguments = [account, before, after, msgspec.json.encode(change), MAX_CHANGES]
        return await self._change(self._override, keys, arguments)

    async def _change(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> bool:
        """Raises MaybeDone."""
        try:
            async with as_store_down(self._seconds):
                return bool(await script(keys, arguments))
        except StoreDown as error:
            raise MaybeDone(str(error)) from None

    async def renew(self) -> None:
        """To be called every now and then: renews leases, and sends what could not be sent. Raises StoreDown."""
        now = time.monotonic()
        if self._unsent or self._batch:
            await self._send()
        if now - self._renewed < RENEW_SECONDS:
            return
        if now - self._renewed > LEASE_SECONDS:
            self._rename()  # what was held may have been granted to others
        present = next(reversed(self._names))
        self._names = {name: held for name, held in self._names.items() if held or name == present}
        try:
            async with as_store_down(self._seconds):
                for name in self._names:
                    await self._redis.set(f"{self._prefix}lease:{name}", "1", px=round(LEASE_SECONDS * 1000))
        except StoreDown:
            await drop_idle(self._redis)
            raise
        self._renewed = now

    async def close(self) -> None:
        await close(self._redis)
        await close(self._reader)

    async def _hash(self, key: str) -> dict[str, str]:
        return {_text(name): _text(value) for name, value in (await self._reader.hgetall(key)).items()}

    def _lines(self, holder: str, one: Settlement, now: float) -> list[_Line]:
        """What was released is taken off the names under which it was held, the oldest first."""
        lines: list[_Line] = []
        left, used = one.released, one.used
        for name, held in self._names.items():
            released = min(left, held[holder, one.account])
            if released:
                held[holder, one.account] -= released
                lines.append((one.account, [name, str(released), str(used), str(one.bucket), _ttl(one.ends, now)]))
                left, used = left - released, 0
            if not held[holder, one.account]:
                del held[holder, one.account]
        if used:
            name = next(reversed(self._names))
            lines.append((one.account, [name, "0", str(used), str(one.bucket), _ttl(one.ends, now)]))
        return lines

    async def _send(self) -> None:
        """In order, and each batch once, also where an answer is lost. Raises StoreDown."""
        async with self._sending:
            while self._unsent or self._batch:
                if not self._batch:
                    self._number += 1
                    self._batch = [self._unsent.popleft() for _ in range(min(MAX_BATCH, len(self._unsent)))]
                keys = [f"{self._prefix}done:{self._machine}", *(self._prefix + account for account, _ in self._batch)]
                arguments = [str(self._number), *(word for _, words in self._batch for word in words)]
                try:
                    async with as_store_down(self._seconds):
                        await self._settle(keys, arguments)
                except StoreDown:
                    self._down_until = time.monotonic() + RETRY_SECONDS
                    await drop_idle(self._redis)
                    raise
                self._batch = []

    def _rename(self) -> None:
        if next(reversed(self._names.values())):
            self._names[self._new_name()] = Counter()
        else:
            last = next(reversed(self._names))
            self._names.pop(last)
            self._names[self._new_name()] = Counter()

    def _new_name(self) -> str:
        return f"{self._machine}-{secrets.token_hex(3)}"


def _merged(lines: Iterable[_Line]) -> deque[_Line]:
    """Returns the lines with those added up that differ by their amounts alone."""
    found: dict[tuple[str, str, str], tuple[int, int, int]] = {}
    for account, (name, released, used, bucket, ttl) in lines:
        before = found.get((account, name, bucket), (0, 0, 0))
        found[account, name, bucket] = before[0] + int(released), before[1] + int(used), max(before[2], int(ttl))
    return deque((key[0], [key[1], str(one[0]), str(one[1]), key[2], str(one[2])]) for key, one in found.items())


def _ttl(ends: int, now: float) -> str:
    """Seconds for which the account is kept."""
    left = ends - int(now) + _MARGIN_SECONDS
    return str(max(_MARGIN_SECONDS, left) if left < _LONGEST_SECONDS else _LASTING_SECONDS)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
