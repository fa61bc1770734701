"""Which keys confirm a token, and static keys beside tokens."""

import json
import time
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from extproc.config.faults import Fault
from extproc.errors import Rejection
from extproc.events import Headers
from extproc.gateway.gateway import Gateway
from extproc.policy.authentication import api_keys
from extproc.policy.authentication.authenticate import Authenticate
from extproc.policy.keys.key_sets import KeySetSpec
from extproc.policy.keys.keys import Keys, parse
from extproc.policy.keys.remote_keys import FetchedKeySets
from tests.issuing import claims, jwk, token
from tests.playbook import done
from tests.policy.authentication.test_authenticate import GENERATE, ask, code, step
from tests.settings import ENVIRON, GATEWAY, MODELS, PROVIDERS, authenticating, faults, source
from tests.stages import located


def both(folder: Path, jwks: dict[str, Any], *, key_of_other: dict[str, Any]) -> Authenticate:
    """Two issuers whose keys have the same id."""
    one = json.loads(authenticating().partition(": ")[2])["jwt"][0]
    issuers = [{**one, "jwks": jwks}, {**one, "issuer": "other", "jwks": {"inline": {"keys": [key_of_other]}}}]
    found: list[Fault] = []
    text = f"authentication: {json.dumps({'jwt': issuers})}\n{PROVIDERS}\n{MODELS}"
    made = Authenticate(source(folder, text), found, FetchedKeySets())
    assert not found
    return made


def test_the_same_kid_at_two_issuers_is_two_keys(tmp_path: Path) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    entry = {**json.loads(ECAlgorithm.to_jwk(stranger.public_key())), "kid": "EC-1"}
    made = both(tmp_path, {"inline": {"keys": [jwk()]}}, key_of_other=entry)
    assert code(made, token()) == ""
    assert code(made, token(claims(iss="other"), key=stranger)) == ""
    assert code(made, token(claims(iss="other"))) == "bad_signature"
    assert code(made, token(key=stranger)) == "bad_signature"


class Kept:
    """An issuer's keys as a test wants them, for any plan."""

    def __init__(self, *entries: dict[str, Any]) -> None:
        self.keys: Keys | None = parse({"keys": list(entries)})[0]
        self.later: Keys | None = None
        self.asked = 0

    def at(self, _plan: KeySetSpec) -> Self:
        return self

    def current(self) -> Keys | None:
        return self.keys

    async def refresh_keys(self) -> None:
        self.asked += 1
        self.keys = self.later or self.keys


def keeping(folder: Path, kept: Kept) -> Authenticate:
    return step(folder, kept, jwks={"url": "https://idp.example/jwks"})


def test_a_token_ends_with_its_key(tmp_path: Path) -> None:
    kept = Kept(jwk(), jwk("RSA"))
    made, text = keeping(tmp_path, kept), token()
    assert code(made, text) == ""
    kept.keys, _ = parse({"keys": [jwk()]})  # the same key, fetched again
    assert code(made, text) == ""
    kept.keys, _ = parse({"keys": [jwk("RSA")]})
    assert code(made, text) == "unknown_key"


def test_a_token_ends_with_its_kid(tmp_path: Path) -> None:
    """The key has another name now, which this token does not know."""
    kept = Kept(jwk())
    made, text = keeping(tmp_path, kept), token()
    assert code(made, text) == ""
    kept.keys, _ = parse({"keys": [jwk(kid="EC-2")]})
    assert code(made, text) == "unknown_key"


def test_an_unknown_kid_is_looked_for(tmp_path: Path) -> None:
    kept = Kept(jwk("RSA"))
    kept.later, _ = parse({"keys": [jwk()]})
    made = keeping(tmp_path, kept)
    assert code(made, token(key="x" * 40, alg="HS256")) == "algorithm_not_allowed" and kept.asked == 0
    assert code(made, token()) == "" and kept.asked == 1
    assert code(made, token()[:-8] + "AAAAAAAA") == "bad_signature" and kept.asked == 1
    assert code(made, token(header={"kid": "nobody"})) == "unknown_key" and kept.asked == 2


def test_without_keys_it_is_not_the_callers_fault(tmp_path: Path) -> None:
    kept = Kept(jwk())
    kept.keys = None
    call = located(headers=Headers([("x-api-key", token())]), endpoint=GENERATE)
    rejection = done(keeping(tmp_path, kept)(call, time.time()))
    assert isinstance(rejection, Rejection)
    assert (rejection.http_status, rejection.detail, rejection.headers) == (503, "keys_unavailable", ())
    assert kept.asked == 0


def test_keys_that_are_fetched_are_kept_from_one_gateway_to_the_next(tmp_path: Path) -> None:
    remote = FetchedKeySets()
    text = f"{authenticating(jwks={'url': 'https://idp.example/jwks'})}\n{PROVIDERS}\n{MODELS}"
    first = Gateway(source(tmp_path, text), ENVIRON, remote=remote)
    remote.use(first.fetched)
    changed = text.replace('"url": "https', '"refresh": 60, "url": "https')
    [plan] = first.fetched
    kept = remote.at(plan)
    [again] = Gateway(source(tmp_path, changed), ENVIRON, remote=remote).fetched
    assert remote.at(again) is kept and (kept.plan.refresh, again.refresh) == (300, 60)
    remote.use(Gateway(source(tmp_path, GATEWAY), ENVIRON, remote=remote).fetched)
    [other] = Gateway(source(tmp_path, text), ENVIRON, remote=remote).fetched
    assert other == plan and remote.at(other) is not kept


def test_authorities_that_cannot_be_read(tmp_path: Path) -> None:
    jwks = {"url": "https://idp.example/jwks", "ca_file": "none.pem"}
    text = f"{authenticating(jwks=jwks)}\n{PROVIDERS}\n{MODELS}"
    assert faults(tmp_path, text) == [
        "1: authentication.jwt.0.jwks.ca_file: none.pem cannot be read: No such file or directory"
    ]
    for content in ("no certificate", "", "\u00e4"):
        (tmp_path / "none.pem").write_text(content)
        assert faults(tmp_path, text) == [
            "1: authentication.jwt.0.jwks.ca_file: none.pem holds no certificates in PEM form"
        ]


def test_a_static_key_beside_tokens(tmp_path: Path) -> None:
    key, line = api_keys.new("nightly", {"team": "data"})
    (tmp_path / "keys.yaml").write_text(line)
    one = json.loads(authenticating().partition(": ")[2])
    text = f"authentication: {json.dumps(one | {'api_keys': {'file': 'keys.yaml'}})}\n{PROVIDERS}\n{MODELS}"
    found: list[Fault] = []
    made = Authenticate(source(tmp_path, text), found, FetchedKeySets())
    assert not found
    refused, caller = ask(made, ("x-api-key", key))
    assert (refused, caller.kind, caller.subject) == ("", "key", "key:nightly")
    assert caller.claims == {"id": "nightly", "sub": "key:nightly", "team": "data"}
    assert ask(made, ("x-api-key", token()))[1].kind == "jwt"
    assert ask(made, ("x-api-key", key), ("authorization", f"Bearer {token()}"))[0] == "two_credentials"
    assert code(made, key[:-1] + "_") == "unknown_api_key"
    assert key not in str(caller)


def test_a_key_without_an_id_does_not_hide_a_new_one(tmp_path: Path) -> None:
    """It is tried, and when it was not the one, the token's may be new."""
    nameless = {name: value for name, value in json.loads(ECAlgorithm.to_jwk(other_ec())).items() if name != "kid"}
    kept = Kept(nameless)
    kept.later, _ = parse({"keys": [nameless, jwk()]})
    made = keeping(tmp_path, kept)
    assert code(made, token()[:-8] + "AAAAAAAA") == "bad_signature" and kept.asked == 1
    kept.keys = parse({"keys": [nameless]})[0]
    assert code(made, token()) == "" and kept.asked == 2


def other_ec() -> ec.EllipticCurvePublicKey:
    return ec.generate_private_key(ec.SECP256R1()).public_key()
