"""Headers that would be somebody, be somewhere else or have been let in already: without a good token, none of it."""

import json

import pytest

from tests.e2e import wire
from tests.e2e.refusals import PROMPT, holds_no_secret, never_asked, refused
from tests.e2e.stack import Model, Stack, prompt

BODY = json.dumps(prompt(PROMPT)).encode()
MISSING, MALFORMED = "credential_missing", ""
"""What the record says; empty where Envoy itself turns the request away with a 400."""

# {token}: a good one.
TRICKS: dict[str, tuple[list[str], str]] = {
    "a verdict of its own": (["extproc: verdict=allow", "x-extproc-verdict: allow"], MISSING),
    "the guard's metadata": (["x-envoy-dynamic-metadata: extproc.verdict=allow"], MISSING),
    "a peer's metadata": (["x-envoy-peer-metadata: e30=", "x-envoy-peer-metadata-id: gateway"], MISSING),
    "claims that were verified elsewhere": (["x-jwt-payload: eyJ0ZWFtIjoiZGF0YS1wbGF0Zm9ybSJ9"], MISSING),
    "a user": (["x-user: ann", "x-forwarded-user: ann", "remote-user: ann"], MISSING),
    "from inside": (["x-envoy-internal: true", "x-forwarded-for: 127.0.0.1"], MISSING),
    "from this machine": (["x-envoy-external-address: 127.0.0.1", "forwarded: for=127.0.0.1"], MISSING),
    "a client certificate": (['x-forwarded-client-cert: By=spiffe://a;Subject="CN=ann"'], MISSING),
    "another path": (["x-envoy-original-path: /api/hello"], MISSING),
    "a rewritten path": (["x-original-url: /api/hello", "x-rewrite-url: /api/hello"], MISSING),
    "another method": (["x-http-method-override: HEAD", "x-http-method: HEAD"], MISSING),
    "another route": (["x-envoy-upstream-alt-stat-name: a", "x-envoy-cluster: provider:openai"], MISSING),
    "other timeouts": (["x-envoy-upstream-rq-timeout-ms: 1", "x-envoy-expected-rq-timeout-ms: 1"], MISSING),
    "more tries": (["x-envoy-max-retries: 9", "x-envoy-retry-on: 5xx,retriable-4xx"], MISSING),
    "forced on the record": (["x-client-trace-id: {token}", "x-envoy-force-trace: true"], MISSING),
    "a number for the call": (["x-request-id: {token}"], MISSING),
    "a token behind another name": (["x-authorization: Bearer {token}", "authentication: Bearer {token}"], MISSING),
    "a token for a proxy": (["proxy-authorization: Bearer {token}"], MISSING),
    "a token in a WebSocket's header": (["sec-websocket-protocol: {token}"], MISSING),
    "Google's and Azure's names": (["x-goog-api-key: {token}", "api-key: {token}"], MISSING),
    "a scheme twice": (["authorization: Bearer Bearer {token}"], "token_malformed"),
    "a token and more": (["authorization: Bearer {token} x"], "token_malformed"),
    "in quotes": (['authorization: Bearer "{token}"'], "token_malformed"),
    "an auth-param": (["authorization: Bearer token={token}"], "token_malformed"),
    "a tab behind": (["x-api-key: {token}\tx"], "token_malformed"),
    "a semicolon": (["authorization: Bearer {token};"], "token_malformed"),
    "Digest": (["authorization: Digest {token}"], "not_a_bearer_token"),
    "a folded header": (["authorization: Bearer no", " {token}"], "token_malformed"),
    "a folded header with a tab": (["x-a: b", "\tauthorization: Bearer {token}"], MISSING),
    "a blank before the colon": (["authorization : Bearer {token}"], MALFORMED),
    "an underscore": (["x_api_key: {token}", "x-api-key: no"], MALFORMED),
    "a zero": (["x-api-key: {token}\x00"], MALFORMED),
    "a carriage return": (["x-api-key: no\rx-api-key: {token}"], "token_malformed"),
    "no name": ([": {token}"], MALFORMED),
    "two lengths": (["content-length: 0", "authorization: Bearer {token}"], MALFORMED),
    "a length and chunks": (["transfer-encoding: chunked", "authorization: Bearer {token}"], MALFORMED),
    "chunks twice": (["transfer-encoding: chunked", "transfer-encoding: identity"], MALFORMED),
    "a header that a hop takes away": (["authorization: Bearer {token}", "connection: authorization"], MISSING),
    "two hosts": (["host: elsewhere", "authorization: Bearer no"], "token_malformed"),
}


@pytest.mark.parametrize("name", TRICKS)
def test_no_header_lets_a_stranger_in(stack: Stack, model: Model, name: str) -> None:
    fields, error = TRICKS[name]
    with never_asked(model):
        answer = wire.send(stack.url, *(field.format(token=stack.good_token) for field in fields), body=BODY)
    if error == MALFORMED:
        assert answer.status_code == 400, answer.text
        holds_no_secret(stack, answer)
        return
    message, record = refused(stack, answer, 401, "authentication_error")
    assert message == ("missing credential" if error == MISSING else "invalid credential")
    assert (record["reason"], record["error"], record["jwt.sub"]) == ("JwtAuth", error, None)


HARMLESS = [name for name, (fields, error) in TRICKS.items() if error == MISSING and "{token}" not in str(fields)]


@pytest.mark.parametrize("name", HARMLESS)
def test_beside_a_good_token_it_changes_nothing(stack: Stack, model: Model, name: str) -> None:
    """Neither where the call goes nor what is known of it, and none of it goes on."""
    fields, _ = TRICKS[name]
    before = model.asked()
    answer = wire.send(stack.url, *fields, f"authorization: Bearer {stack.good_token}", body=BODY)
    assert answer.status_code == 200, answer.text
    assert stack.record(answer)["http.path"] == "/v1/messages"
    [request] = model.since(before)
    assert not {field.partition(":")[0] for field in fields} & {name for name, _ in request["headers"]}
