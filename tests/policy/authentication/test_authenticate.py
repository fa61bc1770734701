import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from extproc.config.endpoints import Endpoint, Operation
from extproc.config.faults import Fault
from extproc.errors import Rejection
from extproc.events import Headers
from extproc.policy.authentication import authenticate, tokens
from extproc.policy.authentication.authenticate import Authenticate
from extproc.policy.authentication.authenticator import Presented
from extproc.policy.authentication.credential import Unproven
from extproc.policy.authentication.jwt_issuers import OVERHEAD_BYTES, size_of
from extproc.policy.facts import ANONYMOUS, Caller, Identified
from extproc.policy.keys.remote_keys import FetchedKeySets
from tests.issuing import AUDIENCE, claims, jwk, private, token
from tests.playbook import done
from tests.settings import MODELS, PROVIDERS, authenticating, faults, source
from tests.stages import located

LEEWAY = 600
GENERATE = Endpoint("e", Operation.GENERATE, "messages", "POST")


def step(folder: Path, remote: Any = None, **changes: Any) -> Authenticate:
    """`remote`: gives the keys of issuers whose set is fetched."""
    found: list[Fault] = []
    text = f"{authenticating(**{'leeway': LEEWAY, **changes})}\n{PROVIDERS}\n{MODELS}"
    made = Authenticate(source(folder, text), found, remote or FetchedKeySets())
    assert not found
    return made


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Authenticate:
    return step(tmp_path_factory.mktemp("strict"))


def ask(step: Authenticate, *fields: tuple[str, str], now: float | None = None) -> tuple[str, Caller]:
    """The code of the refusal, empty when there is none, and the caller."""
    found = done(step(located(headers=Headers(fields), endpoint=GENERATE), time.time() if now is None else now))
    if isinstance(found, Identified):
        return "", found.caller
    assert found.http_status == 401
    return found.detail, ANONYMOUS


def rejected(step: Authenticate, text: str) -> Rejection:
    found = done(step(located(headers=Headers([("x-api-key", text)])), time.time()))
    assert isinstance(found, Rejection)
    return found


def code(step: Authenticate, text: str, now: float | None = None) -> str:
    return ask(step, ("authorization", f"Bearer {text}"), now=now)[0]


def raw(payload: str) -> str:
    return token(payload.encode())


def payload(**members: str) -> str:
    """Good claims, with some as JSON text."""
    good = {name: json.dumps(value) for name, value in claims().items()} | members
    return raw("{" + ",".join(f'"{name}":{value}' for name, value in good.items()) + "}")


def resigned(text: str, *, keep: str) -> str:
    """Header and signature of a token, another's payload."""
    head, _, tail = text.split(".")
    return f"{head}.{keep.split('.')[1]}.{tail}"


def unsigned(**header: Any) -> str:
    return jwt.api_jws.encode(json.dumps(claims()).encode(), "", algorithm="none", headers=header)


NOW = int(time.time())
TOKENS: list[tuple[str, str]] = [
    (token(), ""),
    (token(claims(exp=NOW - LEEWAY + 500)), ""),
    (token(claims(exp=NOW - LEEWAY - 20)), "token_expired"),
    (token(claims(exp=NOW + 5000.5)), ""),
    (token(claims(exp=None)), "claim_missing"),
    (payload(exp="null"), "claim_missing"),
    (payload(exp=f'"{NOW + 5000}"'), "token_malformed"),
    (payload(exp="true"), "token_malformed"),
    (payload(exp="1e400"), "token_malformed"),
    (payload(exp="NaN"), "token_malformed"),
    (payload(exp="[1]"), "token_malformed"),
    (payload(exp="1" + "0" * 400), "token_malformed"),
    (payload(nbf="null"), "token_malformed"),
    (payload(nbf='"1"'), "token_malformed"),
    (payload(iat="false"), "token_malformed"),
    (token(claims(nbf=NOW + 20)), ""),
    (token(claims(nbf=NOW + LEEWAY + 5000)), "token_not_yet_valid"),
    (token(claims(iat=NOW + LEEWAY + 5000)), "token_not_yet_valid"),
    (token(claims(aud="other")), "wrong_audience"),
    (token(claims(aud=["other", AUDIENCE])), ""),
    (token(claims(aud=[])), "wrong_audience"),
    (token(claims(aud=[AUDIENCE, 7])), "token_malformed"),
    (token(claims(aud={AUDIENCE: 1})), "token_malformed"),
    (token(claims(aud=7)), "token_malformed"),
    (token(claims(aud=None)), "claim_missing"),
    (token(claims(sub="key:nightly")), "reserved_subject"),
    (token(claims(sub="key:")), "reserved_subject"),
    (token(claims(sub="keys:nightly")), ""),
    (token(claims(iss="other")), "wrong_issuer"),
    (token(claims(iss=None)), "wrong_issuer"),
    (token(claims(iss={"a": 1})), "wrong_issuer"),
    (token(claims(iss=["lab"])), "wrong_issuer"),
    (raw(json.dumps(claims(iss="other"))[:-1] + ',"iss":"lab"}'), "duplicate_member"),
    (raw(json.dumps(claims(a={"b": 1}))[:-2] + ',"b":1}}'), "duplicate_member"),
    (token(header={"kid": "nobody"}), "unknown_key"),
    (token(header={"kid": "../../dev/null"}), "unknown_key"),
    (token(header={"crit": ["x"], "x": 1}), "critical_header_not_understood"),
    (token(header={"cty": "JWT"}), "token_nested"),
    (token(header={"enc": "A128GCM"}), "token_encrypted"),
    (token(header={"jku": "https://evil.example", "x5u": "https://evil.example"}), ""),
    (token(family="RSA", alg="RS256"), "algorithm_not_allowed"),
    (token(key="x" * 40, alg="HS256"), "algorithm_not_allowed"),
    (unsigned(), "algorithm_not_allowed"),
    (token()[:-8] + "AAAAAAAA", "bad_signature"),
    (resigned(token(), keep=token(claims(org="other"))), "bad_signature"),
    (raw("[1]"), "token_malformed"),
    (raw("not json"), "token_malformed"),
    (raw('{"a":' * 2000), "token_malformed"),
    ("a.b", "token_malformed"),
    ("a.b.c", "token_malformed"),
    ("...", "token_malformed"),
    ("a.b.c.d.e", "token_encrypted"),
    (token() + "=", "token_malformed"),
    ("x" * (16 * 1024 + 1), "token_too_large"),
    ("", "token_malformed"),
    ("ä", "token_malformed"),
]


@pytest.mark.parametrize(("text", "expected"), TOKENS, ids=range(len(TOKENS)))
def test_tokens(strict: Authenticate, text: str, expected: str) -> None:
    assert code(strict, text, NOW) == expected


@pytest.mark.parametrize(
    "header",
    [
        {"alg": ["ES256"]},
        {"alg": {}},
        {"alg": None},
        {"kid": None, "alg": "none"},
        {"kid": ["a"]},
        {"kid": 1},
        {"kid": {}},
        {"crit": ["b64"], "b64": True},
        7,
    ],
)
def test_a_header_of_odd_types(strict: Authenticate, header: Any) -> None:
    """No library writes these, so the header is replaced; whatever it says, the answer is 401."""
    good = {"alg": "ES256", "kid": "EC-1"}
    text = json.dumps({**good, **header} if isinstance(header, dict) else header).encode()
    _, body, signature = token().split(".")
    odd = jwt.utils.base64url_encode(text).decode()
    assert code(strict, f"{odd}.{body}.{signature}") in {
        "token_malformed",
        "algorithm_not_allowed",
        "critical_header_not_understood",
    }


def test_required_claims(tmp_path: Path) -> None:
    made = step(tmp_path, required_claims=["team", "groups"])
    assert code(made, token(claims(groups=["a"]))) == ""
    assert code(made, token()) == "claim_missing"
    assert code(made, payload(groups="null")) == "claim_missing"


LAST = 2_000_000_000


@pytest.mark.parametrize(
    ("changes", "now", "expected"),
    [
        ({"exp": LAST}, LAST + 29.9, ""),
        ({"exp": LAST}, LAST + 30, "token_expired"),
        ({"exp": LAST + 0.5}, LAST + 30.4, ""),
        ({"exp": LAST + 0.5}, LAST + 30.5, "token_expired"),
        ({"nbf": LAST}, LAST - 30, ""),
        ({"nbf": LAST}, LAST - 30.1, "token_not_yet_valid"),
        ({"iat": LAST}, LAST - 30, ""),
        ({"iat": LAST}, LAST - 30.1, "token_not_yet_valid"),
    ],
)
def test_the_edges_of_time(tmp_path: Path, changes: dict[str, Any], now: float, expected: str) -> None:
    made = step(tmp_path, leeway=30)
    assert ask(made, ("x-api-key", token(claims(**{"exp": LAST + 3600, **changes}))), now=now)[0] == expected


def test_an_rsa_issuer(tmp_path: Path) -> None:
    made = step(tmp_path, algorithms=["RS256", "PS256"], jwks={"inline": {"keys": [jwk("RSA")]}})
    assert code(made, token(family="RSA", alg="RS256")) == ""
    assert code(made, token(family="RSA", alg="PS256")) == ""
    assert code(made, token(family="RSA", alg="RS512")) == "algorithm_not_allowed"
    public = private("RSA").public_key()
    assert code(made, token(header={"kid": "RSA-1"}, key=str(public), alg="HS256")) == "algorithm_not_allowed"


def test_what_a_caller_is(strict: Authenticate) -> None:
    _, caller = ask(strict, ("authorization", f"Bearer {token()}"))
    assert (caller.subject, caller.issuer, caller.claims["org"]) == ("ann", "lab", "acme")


@pytest.mark.parametrize(
    ("mode", "none", "bad"),
    [("strict", "credential_missing", "token_malformed"), ("optional", "", "token_malformed"), ("permissive", "", "")],
)
def test_modes(tmp_path: Path, mode: str, none: str, bad: str) -> None:
    made = step(tmp_path, mode=mode)
    for fields, expected in (((), none), ((("x-api-key", "bad"),), bad)):
        assert ask(made, *fields) == (expected, ANONYMOUS)
    assert ask(made, ("x-api-key", token()))[1].subject == "ann"


class Nicknames:
    """A fourth kind of credential."""

    async def identify(self, presented: Presented, now: float) -> Caller | None:
        name = presented.token or ""
        if name == "nick-nobody":
            raise Unproven("unknown_nickname")
        return Caller({"sub": name}, "key") if name.startswith("nick-") else None


@pytest.mark.parametrize(
    ("text", "refused", "subject"),
    [("nick-ann", "", "nick-ann"), ("nick-nobody", "unknown_nickname", ""), (token(), "", "ann")],
    ids=["its caller", "refused", "not its own"],
)
def test_another_authenticator_is_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, refused: str, subject: str
) -> None:
    monkeypatch.setattr(authenticate, "AUTHENTICATORS", (lambda _: Nicknames(), *authenticate.AUTHENTICATORS))
    found, caller = ask(step(tmp_path), ("x-api-key", text))
    assert (found, caller.subject) == (refused, subject)


def test_a_probe_is_not_asked(strict: Authenticate) -> None:
    probe = Endpoint("p", Operation.PROBE, "messages", "HEAD")
    found = done(strict(located(headers=Headers([("x-api-key", "bad")]), endpoint=probe), 0))
    assert isinstance(found, Identified) and found.caller is ANONYMOUS


def test_the_client_does_not_hear_why(strict: Authenticate) -> None:
    said = set()
    for text in (token(header={"kid": "nobody"}), token(claims(exp=1, aud="x")), token(claims(aud="x")), "rubbish"):
        rejection = rejected(strict, text)
        said.add((rejection.message, rejection.kind, rejection.headers[0]))
    assert len(said) == 1


def test_a_token_that_has_expired_is_called_so(strict: Authenticate) -> None:
    rejection = rejected(strict, token(claims(exp=1)))
    assert rejection.message == "credential expired"


@pytest.mark.parametrize(
    "kind", ["logout+jwt", "secevent+jwt", "dpop+jwt", "application/logout+JWT", "id_token", "jwt2"]
)
def test_a_token_of_another_kind(strict: Authenticate, kind: str) -> None:
    assert code(strict, token(header={"typ": kind})) == "wrong_token_type"


@pytest.mark.parametrize("kind", [None, "JWT", "jwt", "application/jwt", "at+jwt", "application/AT+jwt", "JOSE"])
def test_kinds_that_say_who_calls(strict: Authenticate, kind: str | None) -> None:
    assert code(strict, token(header={"typ": kind})) == ""


def test_an_issuer_with_a_kind_of_its_own(tmp_path: Path) -> None:
    made = step(tmp_path, token_types=["application/acme+JWT"])
    assert code(made, token(header={"typ": "ACME+jwt"})) == ""
    assert code(made, token(header={"typ": "JWT"})) == "wrong_token_type"


def test_only_an_expired_token_is_worth_another_try(strict: Authenticate) -> None:
    for text, final in ((token(claims(exp=1)), False), (token(claims(aud="x")), True), ("rubbish", True)):
        rejection = rejected(strict, text)
        assert (("x-should-retry", "false") in rejection.headers) is final


def test_a_token_is_verified_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, text = step(tmp_path), token()
    _, first = ask(made, ("x-api-key", text))
    monkeypatch.setattr(tokens, "parse", None)
    assert ask(made, ("authorization", f"Bearer {text}"))[1] is first
    with pytest.raises(TypeError):
        ask(made, ("x-api-key", text[:-1]))


@pytest.mark.parametrize("exp", [NOW + 1000, NOW + 1000.9], ids=["whole", "fraction"])
def test_what_is_known_of_a_token_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exp: float) -> None:
    made, text = step(tmp_path), token(claims(exp=exp))
    assert ask(made, ("x-api-key", text))[0] == ""
    with monkeypatch.context() as patch:
        patch.setattr(tokens, "parse", None)
        assert ask(made, ("x-api-key", text), now=exp + LEEWAY - 0.01)[0] == ""
    assert ask(made, ("x-api-key", text), now=exp + LEEWAY)[0] == "token_expired"


def test_a_refused_token_is_not_remembered(tmp_path: Path) -> None:
    made = step(tmp_path)
    for _ in range(2):
        assert ask(made, ("x-api-key", token(claims(exp=1))))[0] == "token_expired"


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of these tokens fit; the one that has not been used for longest goes."""
    size = OVERHEAD_BYTES + size_of(claims(sub="0"))
    made = step(tmp_path, authentication={"token_cache_bytes": 4 * size - 1})
    a, b, c, d = (token(claims(sub=name)) for name in "abcd")
    for text in (a, b, c, a, d):
        assert code(made, text) == ""
    monkeypatch.setattr(tokens, "parse", None)
    assert [code(made, text) for text in (a, c, d)] == ["", "", ""]
    with pytest.raises(TypeError):
        code(made, b)


def test_a_token_that_does_not_fit_is_verified_each_time(tmp_path: Path) -> None:
    made = step(tmp_path, authentication={"token_cache_bytes": 0})
    assert [code(made, token()) for _ in range(2)] == ["", ""]


def test_claims_that_nobody_reads_are_not_kept(tmp_path: Path) -> None:
    text = f"{authenticating(leeway=LEEWAY)}\n{PROVIDERS}\n{MODELS}"
    made = Authenticate(source(tmp_path, text), [], FetchedKeySets(), frozenset({"team", "groups"}))
    _, caller = ask(made, ("x-api-key", token(claims(padding=["x"] * 100))))
    assert caller.claims == {"iss": "lab", "sub": "ann", "team": "data"}


def test_faults(tmp_path: Path) -> None:
    rest = f"{PROVIDERS}\n{MODELS}"
    assert faults(tmp_path, "authentication: {}\n" + rest) == [
        "1: authentication.jwt: strict mode needs at least one issuer, or api_keys, or certificates, or sign_in"
    ]
    one = json.loads(authenticating().partition(": ")[2])["jwt"][0]
    twice = "authentication: " + json.dumps({"jwt": [one, one]})
    assert faults(tmp_path, f"{twice}\n{rest}") == ["1: authentication.jwt.1.issuer: 'lab' stands here twice"]
