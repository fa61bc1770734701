"""A client for Envoy's administration, which listens on a Unix socket in Envoy's folder.

https://www.envoyproxy.io/docs/envoy/latest/operations/admin
"""

from pathlib import Path

SECONDS = 5.0


class EnvoyAdmin:
    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)

    async def get(self, path: str) -> list[str] | None:
        """The lines of the answer; none where Envoy hangs, None where there is no Envoy."""
        return await self._request("GET", path)

    async def post(self, path: str) -> list[str] | None:
        """As `get`, for what changes something."""
        return await self._request("POST", path)

    async def _request(self, method: str, path: str) -> list[str] | None:
        import httpx  # takes longer than the rest of this process needs before its children start

        transport = httpx.AsyncHTTPTransport(uds=self._socket, verify=False)
        async with httpx.AsyncClient(transport=transport, timeout=SECONDS, trust_env=False) as client:
            try:
                return (await client.request(method, f"http://admin{path}")).text.splitlines()
            except httpx.TimeoutException:
                return []
            except httpx.TransportError:
                return None
