"""A client for Envoy's administration, which listens on a Unix socket in Envoy's folder.

https://www.envoyproxy.io/docs/envoy/latest/operations/admin
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import httpx

SECONDS = 5.0
Stats = dict[str, str]


class _Stat(msgspec.Struct):
    name: str = ""
    value: int | str = ""


class _Answer(msgspec.Struct):
    stats: list[_Stat]
    """Histograms come as one object without a name of its own."""


class EnvoyAdmin:
    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)

    async def stats(self, names: Iterable[str]) -> Stats | None:
        """Values of all statistics whose names contain one of `names`; empty where Envoy hangs, None where there is no
        Envoy."""
        pattern = "|".join(map(re.escape, names))
        try:
            answer = await self._request("GET", "/stats", {"format": "json", "filter": pattern})
        except TimeoutError:
            return {}
        except OSError:
            return None
        found = msgspec.json.decode(answer.content, type=_Answer).stats
        return {one.name: str(one.value) for one in found if one.name}

    async def ready(self) -> bool:
        """Returns whether Envoy is live: neither starting nor draining nor away."""
        try:
            return (await self._request("GET", "/ready")).status_code == 200
        except OSError:
            return False

    async def post(self, path: str) -> None:
        """Changes something, where there is an Envoy."""
        try:
            await self._request("POST", path)
        except OSError:
            return

    async def _request(self, method: str, path: str, query: dict[str, str] | None = None) -> "httpx.Response":
        """Raises TimeoutError where Envoy hangs, OSError where there is none."""
        import httpx  # takes longer than the rest of this process needs before its children start

        transport = httpx.AsyncHTTPTransport(uds=self._socket, verify=False)
        async with httpx.AsyncClient(transport=transport, timeout=SECONDS, trust_env=False) as client:
            try:
                return await client.request(method, f"http://admin{path}", params=query)
            except httpx.TimeoutException:
                raise TimeoutError from None
            except httpx.TransportError:
                raise ConnectionError from None
