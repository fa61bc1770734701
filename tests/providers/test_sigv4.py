"""Signatures as botocore makes them, and those that AWS has published."""

import datetime as dt
import random
import string
from collections.abc import Iterator
from unittest import mock
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from extproc.providers.sigv4 import DIGEST, EMPTY_DIGEST, AwsKeys, Scope, Signer, digest

NOW = 1_796_000_000.25
# https://docs.aws.amazon.com/general/latest/gr/signature-v4-test-suite.html
PUBLISHED = AwsKeys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
PUBLISHED_SCOPE = Scope("us-east-1", "service")
SIGNER = Signer(PUBLISHED, PUBLISHED_SCOPE)
PUBLISHED_NOW = 1440938160  # 20150830T123600Z


def by_botocore(
    method: str, url: str, headers: dict[str, str], body: bytes, keys: AwsKeys, scope: Scope, now: float
) -> dict[str, str]:
    request = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
    credentials = Credentials(keys.access_key_id, keys.secret_access_key, keys.session_token or None)
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment):
        SigV4Auth(credentials, scope.service, scope.region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def generated(count: int) -> Iterator[tuple[str, str, dict[str, str], bytes, AwsKeys, Scope, float]]:
    chance = random.Random(17)

    def text(letters: str, most: int) -> str:
        return "".join(chance.choices(letters, k=chance.randint(1, most)))

    for _ in range(count):
        model = text(string.ascii_letters + string.digits + "-._~:/@ +%é", 40)
        path = chance.choice(["/model/{}/invoke", "/model/{}/invoke-with-response-stream", "/openai/v1/{}"])
        query = chance.choice(["", "", "?b=2&a=1", "?api-version=2024-10-21&x=a%20b", "?empty=&flag", "?a=b%2Fc&a=a"])
        host = chance.choice(["bedrock-runtime.eu-central-1.amazonaws.com", "127.0.0.1:8443", "vpce-1.example:444"])
        body = chance.randbytes(chance.choice([0, 2, 1000]))
        headers = {"content-type": chance.choice(["application/json", "application/json;  charset=utf-8"])}
        keys = AwsKeys(text(string.ascii_uppercase, 20), text(string.ascii_letters + "+/=", 40))
        if chance.random() < 0.5:
            keys = AwsKeys(keys.access_key_id, keys.secret_access_key, text(string.ascii_letters + "+/=", 300))
        scope = Scope(chance.choice(["eu-central-1", "us-gov-west-1"]), chance.choice(["bedrock", "bedrock-mantle"]))
        url = f"https://{host}" + path.format(quote(model, safe="")) + query
        yield "POST", url, headers, body, keys, scope, NOW + chance.randrange(10**8)


def test_as_botocore_signs_200_requests() -> None:
    count = 0
    for method, url, headers, body, keys, scope, now in generated(200):
        headers[DIGEST] = digest(body)
        expected = by_botocore(method, url, headers, body, keys, scope, now)
        made = Signer(keys, scope).sign(method, url, headers, now)
        assert made == {name: expected[name] for name in made}, url
        count += 1
    assert count == 200


@pytest.mark.parametrize(
    ("name", "method", "target", "signature"),
    [
        ("get-vanilla", "GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("post-vanilla", "POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "get-vanilla-query-order-key-case",
            "GET",
            "/?Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "get-vanilla-utf8-query",
            "GET",
            "/?%E1%88%B4=bar",
            "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
        ),
    ],
)
def test_as_aws_has_published(name: str, method: str, target: str, signature: str) -> None:
    made = SIGNER.sign(method, f"https://example.amazonaws.com{target}", {}, PUBLISHED_NOW)
    scope = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"
    assert made == {
        "authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={signature}",
        "x-amz-date": "20150830T123600Z",
    }


def test_headers_that_a_proxy_may_change_are_not_signed() -> None:
    headers = {"user-agent": "u", "accept-encoding": "identity", "traceparent": "t", "content-type": "application/json"}
    made = SIGNER.sign("POST", "https://a.example/x", headers | {DIGEST: EMPTY_DIGEST}, NOW)
    assert "SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date," in made["authorization"]


def test_nothing_prints_the_keys() -> None:
    assert "wJalr" not in repr(PUBLISHED) and "AKID" not in f"{PUBLISHED!s}"


def test_the_port_of_the_url_is_signed_as_it_is_sent() -> None:
    url = "https://a.example:8443/x"
    expected = by_botocore("POST", url, {DIGEST: EMPTY_DIGEST}, b"", PUBLISHED, PUBLISHED_SCOPE, NOW)
    made = SIGNER.sign("POST", url, {DIGEST: EMPTY_DIGEST}, NOW)
    assert made["authorization"] == expected["authorization"]
