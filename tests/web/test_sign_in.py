import asyncio
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from extproc.policy.authentication.revocations import Revocations
from extproc.sign_in import revoking
from extproc.store.embedded import EmbeddedStore
from extproc.store.interface import StoreDown
from extproc.web.topics import ADDRESS_HEADER
from tests.web.site import ADDRESS, CLIENT, DEVICE_GRANT, ISSUER, URL, Json, Site, fields


def payload(token: str) -> Json:
    return jwt.decode(token, options={"verify_signature": False})


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


def test_discovery_names_only_our_own_origin(site: Site) -> None:
    found = site.get("/.well-known/oauth-authorization-server", headers={"host": "evil.example"}).json()
    assert found["gateway_protocol_version"] == 1
    assert found["grant_types_supported"] == [DEVICE_GRANT, "authorization_code", "refresh_token"]
    assert found["token_endpoint_auth_methods_supported"] == ["none"]
    assert {found["issuer"], URL} == {URL}
    addresses = [value for name, value in found.items() if name.endswith(("_endpoint", "_uri"))]
    assert len(addresses) == 5 and all(value.startswith(f"{URL}/") for value in addresses)


@pytest.mark.parametrize("body", [b"", b"{}", b"surface=claude_code&new=1"])
def test_device_authorization_takes_any_body(site: Site, body: bytes) -> None:
    answer = site.post("/oauth/device_authorization", body)
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    codes = answer.json()
    assert len(codes["device_code"]) == 43 and codes["expires_in"] == 600 and codes["interval"] == 5
    assert codes["verification_uri"] == f"{URL}/device"
    assert codes["verification_uri_complete"] == f"{URL}/device?user_code={codes['user_code']}"


def test_a_notice_for_the_terminal(tmp_path: Path) -> None:
    with Site(tmp_path, {"notice": "Calls are recorded."}) as site:
        assert site.begin()["login_notice"] == "Calls are recorded."


def test_the_tokens_of_a_sign_in(site: Site) -> None:
    tokens = site.sign_in()
    assert tokens.keys() == {"access_token", "refresh_token", "token_type", "expires_in"}
    claims = payload(tokens["access_token"])
    assert claims["iss"] == claims["aud"] == URL and claims["idp"] == ISSUER
    assert (claims["sub"], claims["email"], claims["groups"]) == ("alice", "alice@corp.example", ["developers"])
    assert claims["exp"] - int(claims["iat"]) == tokens["expires_in"] == 3600
    [key] = site.get("/.well-known/jwks.json").json()["keys"]
    assert "d" not in key and key["alg"] == "ES256"
    verified = jwt.decode(tokens["access_token"], jwt.PyJWK(key).key, ["ES256"], audience=URL)
    assert verified == claims


def test_what_the_provider_is_asked(site: Site) -> None:
    codes, browser = site.begin(), site.client()
    location = site.confirm(codes["user_code"], browser)
    query = fields(location)
    assert location.startswith(f"{ISSUER}/authorize?")
    assert (query["client_id"], query["response_type"], query["redirect_uri"]) == (
        CLIENT,
        "code",
        f"{URL}/oauth/callback",
    )
    assert query["scope"] == "openid profile email offline_access" and query["code_challenge_method"] == "S256"
    site.come_back(location, browser)
    [form] = site.idp.requests("/token")
    assert form["client_id"] == CLIENT and "client_secret" not in form


def test_a_code_counts_once(site: Site) -> None:
    codes = site.begin()
    site.approve(codes)
    assert site.poll(codes).status_code == 200
    assert error(site.poll(codes)) == (400, "expired_token")


def test_polling(site: Site) -> None:
    codes = site.begin()
    assert error(site.poll(codes)) == (400, "authorization_pending")
    assert error(site.poll(codes)) == (400, "slow_down")
    site.ahead += 6
    assert error(site.poll(codes)) == (400, "authorization_pending")
    site.ahead += 600
    assert error(site.poll(codes)) == (400, "expired_token")
    assert error(site.poll({"device_code": "unknown"})) == (400, "expired_token")


FORMS: list[tuple[Any, str]] = [
    ({}, "invalid_request"),
    ({"grant_type": "password"}, "unsupported_grant_type"),
    ({"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange"}, "unsupported_grant_type"),
    ({"grant_type": "refresh_token"}, "invalid_request"),
    ({"grant_type": DEVICE_GRANT}, "invalid_request"),
    (b'{"grant_type": "refresh_token"}', "invalid_request"),
    (b"grant_type=refresh_token&grant_type=refresh_token", "invalid_request"),
    (b"&".join(b"a%d=1" % n for n in range(100)), "invalid_request"),
    (b"grant_type=%ff%fe", "invalid_request"),
]


@pytest.mark.parametrize(("form", "expected"), FORMS)
def test_a_faulty_form(site: Site, form: Any, expected: str) -> None:
    kind = "application/json" if isinstance(form, bytes) and form[:1] == b"{" else "application/x-www-form-urlencoded"
    answer = site.post("/oauth/token", form, headers={"content-type": kind})
    assert error(answer) == (400, expected)


def test_a_body_that_is_too_large(site: Site) -> None:
    form = b"grant_type=" + b"x" * 70_000
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert site.post("/oauth/token", form, headers=kind).status_code == 413


def test_codes_and_states_survive_a_restart(site: Site) -> None:
    codes, browser = site.begin(), site.client()
    site.restart()
    location = site.confirm(codes["user_code"], browser)
    site.restart()
    after = site.client()
    after.cookies = browser.cookies
    assert site.come_back(location, after).status_code == 200
    site.restart()
    assert site.poll(codes).status_code == 200


def test_a_refresh_renews_claims_and_both_tokens(site: Site) -> None:
    first = site.sign_in()
    site.idp.claims["groups"] = ["developers", "data"]
    second = site.refresh(first["refresh_token"]).json()
    assert payload(second["access_token"])["groups"] == ["developers", "data"]
    assert second["refresh_token"] != first["refresh_token"]
    assert site.refresh(second["refresh_token"]).status_code == 200
    sent = [form["refresh_token"] for form in site.idp.requests("/token") if form["grant_type"] == "refresh_token"]
    assert len(sent) == 2 and len(set(sent)) == 2  # each time the provider's newest


def test_a_provider_that_gives_no_id_token_and_no_new_token_at_a_refresh(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    first = site.sign_in()
    site.idp.tokens = {"id_token": None, "refresh_token": None}
    second = site.refresh(first["refresh_token"]).json()
    assert payload(second["access_token"])["groups"] == ["developers"]
    assert site.refresh(second["refresh_token"]).status_code == 200
    assert caplog.text.count("sends no id_token with a refresh") == 1


@pytest.mark.parametrize(
    ("status", "claims", "expected"),
    [
        (200, {"sub": "alice"}, (401, "invalid_grant")),  # no longer in the group
        (200, {"sub": "mallory", "groups": ["developers"]}, (401, "invalid_grant")),
        (401, {}, (401, "invalid_grant")),
        (500, {}, (503, "temporarily_unavailable")),
        (200, {"groups": ["developers"]}, (503, "temporarily_unavailable")),
    ],
)
def test_claims_of_userinfo_where_a_refresh_brings_no_id_token(
    tmp_path: Path, status: int, claims: Json, expected: tuple[int, str]
) -> None:
    with Site(tmp_path, {"userinfo": True, "allow": ['"developers" in jwt.groups']}) as site:
        site.idp.metadata["userinfo_endpoint"] = f"{ISSUER}/userinfo"
        first = site.sign_in()
        site.idp.tokens = {"id_token": None}
        site.idp.userinfo = {"sub": "alice", "groups": ["developers", "new"]}
        second = site.refresh(first["refresh_token"]).json()
        assert payload(second["access_token"])["groups"] == ["developers", "new"]
        site.idp.userinfo_status, site.idp.userinfo = status, claims
        assert error(site.refresh(second["refresh_token"])) == expected


def test_a_provider_without_refresh_tokens(site: Site) -> None:
    site.idp.tokens = {"refresh_token": None}
    assert "refresh_token" not in site.sign_in()


def test_the_same_refresh_token_gets_the_same_answer_for_a_minute(site: Site) -> None:
    first = site.sign_in()
    second = site.refresh(first["refresh_token"]).json()
    site.ahead += 50
    assert site.refresh(first["refresh_token"]).json() == second
    site.ahead += 20
    assert error(site.refresh(first["refresh_token"])) == (401, "invalid_grant")
    assert len(site.idp.requests("/token")) == 2  # the provider has not heard of it, so it ends nothing
    assert site.refresh(second["refresh_token"]).status_code == 200


def test_two_processes_that_refresh_at_once_cause_one_refresh(site: Site) -> None:
    first = site.sign_in()
    site.idp.pause = 0.2
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}

    async def both() -> list[httpx.Response]:
        clients = [site.client(), site.client(), site.client(site.application())]
        return await asyncio.gather(*(client.post("/oauth/token", data=form) for client in clients))

    answers = site.run(both())
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert answers[0].json() == answers[1].json() == answers[2].json()
    assert len(site.idp.requests("/token")) == 2


DISABLED: list[tuple[int, Json, tuple[int, str]]] = [
    (400, {"error": "invalid_grant"}, (401, "invalid_grant")),
    (401, {"error": "access_denied"}, (401, "invalid_grant")),
    (400, {"error": "invalid_request"}, (401, "invalid_grant")),
    (400, {}, (503, "temporarily_unavailable")),
    (400, {"error": "invalid_client"}, (503, "temporarily_unavailable")),
    (500, {}, (503, "temporarily_unavailable")),
    (429, {}, (503, "temporarily_unavailable")),
]


@pytest.mark.parametrize(("status", "answer", "expected"), DISABLED)
def test_a_refresh_that_the_provider_refuses(site: Site, status: int, answer: Json, expected: tuple[int, str]) -> None:
    first = site.sign_in()
    site.idp.status, site.idp.tokens = status, answer
    assert error(site.refresh(first["refresh_token"])) == expected
    site.idp.status, site.idp.tokens = 200, {}
    assert site.refresh(first["refresh_token"]).status_code == 200  # nothing half-done


def test_a_refresh_for_somebody_who_may_no_longer(site: Site) -> None:
    first = site.sign_in()
    site.idp.claims["groups"] = []
    assert error(site.refresh(first["refresh_token"])) == (401, "invalid_grant")


def test_a_refresh_for_somebody_else(site: Site) -> None:
    first = site.sign_in()
    site.idp.claims["sub"] = "bob"
    assert error(site.refresh(first["refresh_token"])) == (401, "invalid_grant")


def test_a_provider_that_is_down(site: Site) -> None:
    tokens = site.sign_in()
    site.idp.down = True
    assert error(site.refresh(tokens["refresh_token"])) == (503, "temporarily_unavailable")
    site.restart()
    codes = site.begin()
    page = site.get(f"/device?user_code={codes['user_code']}")
    assert page.status_code == 503 and "cannot be reached at the moment" in page.text
    site.idp.down = False
    assert site.refresh(tokens["refresh_token"]).status_code == 200


@pytest.mark.parametrize("ends", ["access_token", "refresh_token"])
def test_revocation_ends_the_session(site: Site, ends: str) -> None:
    site.idp.metadata["revocation_endpoint"] = f"{ISSUER}/revoke"
    tokens, others = site.sign_in(), site.sign_in()
    assert site.post("/oauth/revoke", {"token": tokens[ends], "token_type_hint": ends}).status_code == 200
    assert error(site.refresh(tokens["refresh_token"])) == (401, "invalid_grant")
    assert site.refresh(others["refresh_token"]).status_code == 200
    assert len(site.idp.requests("/revoke")) == (ends == "refresh_token")


def test_a_sign_in_right_after_a_revocation_counts(site: Site) -> None:
    before = payload(site.sign_in()["access_token"])
    site.run(revoking.end_subject(site.store, "alice", site.now()))
    after = site.sign_in()
    known = Revocations()
    known.replace(site.run(revoking.snapshot(site.store)))
    assert known.check_of(before)() and not known.check_of(payload(after["access_token"]))()
    assert site.refresh(after["refresh_token"]).status_code == 200


def test_revocation_of_nothing(site: Site) -> None:
    assert site.post("/oauth/revoke", {"token": "unknown"}).status_code == 200
    assert error(site.post("/oauth/revoke", {})) == (400, "invalid_request")


def test_a_sealed_token_of_another_gateway_or_kind(site: Site, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with Site(tmp_path / "other") as other:
        assert error(site.refresh(other.sign_in()["refresh_token"])) == (401, "invalid_grant")
    codes, browser = site.begin(), site.client()
    state = fields(site.confirm(codes["user_code"], browser))["state"]
    tokens = site.sign_in()
    for text in (state, tokens["access_token"], tokens["refresh_token"][:-2] + "AA", "", "x" * 60_000):
        answer = site.post("/oauth/token", {"grant_type": "refresh_token", "refresh_token": text})
        assert answer.status_code in {400, 401} and answer.json()["error"] in {"invalid_grant", "invalid_request"}


def test_a_refresh_token_says_nothing(site: Site) -> None:
    tokens = site.sign_in()
    assert "idp-" not in tokens["refresh_token"] and "alice" not in tokens["refresh_token"]


def test_too_many_sign_ins_from_one_address(tmp_path: Path) -> None:
    with Site(tmp_path, {"attempts_per_address": 5}) as site:
        for _ in range(5):
            assert site.post("/oauth/device_authorization", b"").status_code == 200
        claimed = {"x-forwarded-for": "198.51.100.1", "forwarded": "for=198.51.100.1"}
        answer = site.post("/oauth/device_authorization", b"", headers=claimed)
        assert error(answer) == (429, "slow_down")
        elsewhere = {ADDRESS_HEADER: "198.51.100.1"}
        assert site.post("/oauth/device_authorization", b"", headers=elsewhere).status_code == 200


def test_a_store_that_is_down(site: Site) -> None:
    tokens = site.sign_in()
    codes = site.begin()
    site.run(site.store.close())
    assert error(site.refresh(tokens["refresh_token"])) == (503, "temporarily_unavailable")
    assert error(site.post("/oauth/device_authorization", b"")) == (503, "temporarily_unavailable")
    page = site.get(f"/device?user_code={codes['user_code']}")
    assert page.status_code == 503 and page.text.startswith("<!doctype html>")
    assert ADDRESS not in page.text


def test_a_refresh_during_a_revocation_revives_nothing(site: Site) -> None:
    tokens, others = site.sign_in(), site.sign_in()
    site.idp.pause = 0.2

    async def both() -> tuple[httpx.Response, httpx.Response]:
        async def refresh(refresh_token: str) -> httpx.Response:
            form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
            return await site.client().post("/oauth/token", data=form)

        refreshes = [asyncio.create_task(refresh(one["refresh_token"])) for one in (tokens, others)]
        await asyncio.sleep(0.1)
        session = payload(tokens["access_token"])["sid"]
        await revoking.end_session(site.store, session, site.now())
        await revoking.end_subject(site.store, "alice", site.now())
        return await refreshes[0], await refreshes[1]

    known = Revocations()
    answers = [answer.json() for answer in site.run(both())]
    known.replace(site.run(revoking.snapshot(site.store)))
    for answer in answers:
        assert known.check_of(payload(answer["access_token"]))()
        assert error(site.refresh(answer["refresh_token"])) == (401, "invalid_grant")


class _Forgetful(EmbeddedStore):
    """Cannot remember refreshes."""

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        if "/refreshed/" in key:
            raise StoreDown("the disk is full")
        await super().put(key, value, ttl)


def test_a_refresh_that_cannot_be_remembered_is_not_lost(tmp_path: Path) -> None:
    with Site(tmp_path, store=_Forgetful(tmp_path / "state")) as site:
        answer = site.refresh(site.sign_in()["refresh_token"])
        assert answer.status_code == 200
        assert site.refresh(answer.json()["refresh_token"]).status_code == 200
