"""The gateway as an issuer: what its own access tokens are like, and where a process gets the keys to verify them."""

from extproc.config.schema import Config, Issuer, Jwks
from extproc.config.schema_sign_in import SignIn
from extproc.policy.keys.key_sets import KeySetSpec
from extproc.policy.keys.places import JwksLocation

ALGORITHM = "ES256"
TYPE = "at+jwt"
"""https://www.rfc-editor.org/rfc/rfc9068#section-2.1"""
JWKS_PATH = "/.well-known/jwks.json"
IN_THE_STORE = "store:sign-in-keys"
"""The place of the keys: the supervisor reads them from the store, as it fetches others from URLs."""
REFRESH_SECONDS = 30.0
MAX_STALE_SECONDS = 30 * 86400.0
"""While the store is down, tokens that were issued before count until they expire."""


def issuer(settings: SignIn) -> Issuer:
    return Issuer(
        issuer=settings.public_url,
        audiences=[settings.public_url],
        jwks=Jwks(url=settings.public_url + JWKS_PATH),
        algorithms=[ALGORITHM],
        token_types=[TYPE],
    )


def plan(config: Config) -> KeySetSpec:
    assert config.sign_in is not None
    # A shared store may be down when this starts, and callers with other credentials can be served.
    awaited = config.store.redis is None
    return KeySetSpec(
        JwksLocation(IN_THE_STORE, config.sign_in.public_url), REFRESH_SECONDS, MAX_STALE_SECONDS, awaited
    )
