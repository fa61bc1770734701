"""Access tokens of Microsoft Entra ID: for an application, for a workload, for a managed identity.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from collections.abc import Callable, Mapping
from urllib.parse import quote, urlencode

from extproc.providers.cloud_credentials import CredentialSpec, bearer
from extproc.supervisor.clouds.aws import read_token
from extproc.supervisor.clouds.http import Fetched, Request, ask, form, read_json, seconds, text

AUTHORITY = "https://login.microsoftonline.com"
INSTANCE = "http://169.254.169.254"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class AzureCredentials:
    """Fetches what a specification says. `clock`: Unix seconds."""

    def __init__(self, spec: CredentialSpec, environ: Mapping[str, str], clock: Callable[[], float]) -> None:
        self._spec = spec
        self._environ = environ
        self._clock = clock

    async def fetch(self) -> Fetched:
        """Raises NotFetched."""
        azure = self._spec.auth.azure
        assert azure is not None
        if azure.client is not None:
            secret = {"client_secret": self._spec.secrets["azure.client.secret"]}
            return await self._token(self._for_client(azure.client.tenant, azure.client.client_id, secret))
        if azure.workload_identity is not None:
            workload = azure.workload_identity
            token = read_token(self._spec.files["azure.workload_identity.token"])
            proof = {"client_assertion_type": _ASSERTION, "client_assertion": token}
            return await self._token(self._for_client(workload.tenant, workload.client_id, proof))
        assert azure.managed_identity is not None
        return await self._token(self._for_machine(azure.managed_identity.client_id))

    def _for_client(self, tenant: str, client_id: str, proof: Mapping[str, str]) -> Request:
        authority = (self._spec.auth.endpoint or AUTHORITY).rstrip("/")
        fields = {"grant_type": "client_credentials", "client_id": client_id, "scope": self._spec.scope, **proof}
        return form(f"{authority}/{quote(tenant, safe='')}/oauth2/v2.0/token", fields)

    def _for_machine(self, client_id: str | None) -> Request:
        """https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference where the
        environment names that endpoint, else
        https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token"""
        # A managed identity is asked for a resource, which is the scope without its end.
        fields = {"resource": self._spec.scope.removesuffix("/.default")}
        fields |= {"client_id": client_id} if client_id else {}
        own, key = self._environ.get("IDENTITY_ENDPOINT"), self._environ.get("IDENTITY_HEADER")
        if own and key and self._spec.auth.endpoint is None:
            query = urlencode({"api-version": "2019-08-01", **fields})
            return Request(url=f"{own}?{query}", headers={"x-identity-header": key})
        base = (self._spec.auth.endpoint or INSTANCE).rstrip("/")
        query = urlencode({"api-version": "2018-02-01", **fields})
        # Required against SSRF: whoever makes a server fetch a URL must not get a token.
        return Request(url=f"{base}/metadata/identity/oauth2/token?{query}", headers={"metadata": "true"})

    async def _token(self, request: Request) -> Fetched:
        began = self._clock()
        found = read_json(await ask(request, self._spec.roots))
        return Fetched(bearer(text(found, "access_token")), began + seconds(found, "expires_in"))
