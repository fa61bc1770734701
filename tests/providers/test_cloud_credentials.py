"""Credentials of clouds in the configuration and in a worker. No secret is printed."""

import json
from pathlib import Path

import msgspec
import pytest

from extproc.config.faults import Fault
from extproc.config.loading import Source
from extproc.providers import credentials
from extproc.providers.cloud_credentials import (
    CloudAccess,
    CredentialSpec,
    CredentialUpdate,
    Given,
    HeaderCredential,
    Sent,
    SentCredentials,
    bearer,
)
from extproc.providers.sigv4 import AwsKeys, Scope
from extproc.transport import orders
from tests.settings import AUTHENTICATION, faults, source

SECRET = "very-secret-value-0123456789"
ENVIRON = {"ID": "AKIAIOSFODNN7EXAMPLE", "KEY": SECRET}
KEYS = "keys: {access_key_id: {env: ID}, secret_access_key: {env: KEY}}"
ROLE = "arn:aws:iam::111122223333:role/r"


def config(auth: str, cloud: str = "cloud: aws-bedrock, region: eu-central-1, dialects: [messages]") -> str:
    return f"{AUTHENTICATION}\nproviders:\n  c: {{{cloud}, auth: {auth}}}\nmodels: [{{name: m, provider: c}}]\n"


def read(folder: Path, auth: str, cloud: str = "") -> Source:
    return source(folder, config(auth, cloud) if cloud else config(auth), ENVIRON)


def loaded(folder: Path, auth: str, cloud: str = "") -> AwsKeys | HeaderCredential | CredentialSpec | None:
    problems: list[Fault] = []
    found = credentials.of_cloud(read(folder, auth, cloud), "c", ENVIRON, problems)
    assert problems == []
    return found


AZURE = 'cloud: azure-openai, base_url: "https://a.example", dialects: [chat]'
FOUNDRY = 'cloud: azure-foundry, base_url: "https://a.example", dialects: [messages]'


@pytest.mark.parametrize(
    ("auth", "cloud", "expected"),
    [
        (f"{{aws: {{{KEYS}}}}}", "", AwsKeys(ENVIRON["ID"], SECRET)),
        ("{aws: {api_key: {env: KEY}}}", "", bearer(SECRET)),
        ("{azure: {key: {env: KEY}}}", AZURE, HeaderCredential("api-key", SECRET)),
        ("{azure: {key: {env: KEY}}}", FOUNDRY, HeaderCredential("x-api-key", SECRET)),
    ],
)
def test_what_is_given(tmp_path: Path, auth: str, cloud: str, expected: object) -> None:
    assert loaded(tmp_path, auth, cloud) == expected


def test_what_has_to_be_fetched_is_another_one_when_anything_about_it_changes(tmp_path: Path) -> None:
    role = f"{{aws: {{{KEYS}, role: '{ROLE}'}}}}"
    first, same = loaded(tmp_path, role), loaded(tmp_path, role)
    other = loaded(tmp_path, role.replace("role/r", "role/other"))
    changed = credentials.of_cloud(read(tmp_path, role), "c", ENVIRON | {"KEY": "another"}, [])
    assert isinstance(first, CredentialSpec) and isinstance(same, CredentialSpec)
    assert isinstance(other, CredentialSpec) and isinstance(changed, CredentialSpec)
    assert first.name == same.name
    assert len({first.name, other.name, changed.name}) == 3


def test_secrets_that_are_missing_are_faults(tmp_path: Path) -> None:
    found = faults(tmp_path, config(f"{{aws: {{{KEYS}}}}}"), {"ID": "x"})
    assert found == ["3: providers.c.auth.aws.keys.secret_access_key: the environment variable KEY is not set or empty"]


def test_a_key_file_of_a_service_account_may_have_lines(tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text(json.dumps({"type": "service_account"}, indent=1))
    vertex = "cloud: google-vertex, project: p, location: eu, dialects: [messages]"
    spec = loaded(tmp_path, "{google: {service_account: {file: key.json}}}", vertex)
    assert isinstance(spec, CredentialSpec) and "service_account" in spec.secrets["google.service_account"]


def test_nothing_prints_a_secret(tmp_path: Path) -> None:
    spec = loaded(tmp_path, f"{{aws: {{{KEYS}, role: '{ROLE}'}}}}")
    assert isinstance(spec, CredentialSpec)
    update = CredentialUpdate("n", AwsKeys("id", SECRET, SECRET), 1.0)
    for value in (
        spec,
        update,
        bearer(SECRET),
        AwsKeys("id", SECRET),
        Given(bearer(SECRET)),
        Sent(SentCredentials(), spec),
    ):
        assert SECRET not in repr(value) and SECRET not in f"{value}"


def test_the_web_process_gets_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    read_ = read(tmp_path, "{aws: {keys: {access_key_id: {env: ID}, secret_access_key: {file: secret}}}}")
    assert credentials.withheld_variables(read_) == {"ID": credentials.WITHHELD}
    assert credentials.withheld_files(read_) == {tmp_path / "secret"}
    assert faults(tmp_path, config("{aws: {keys: {access_key_id: {env: ID}, secret_access_key: {env: KEY}}}}"),
                  {"ID": credentials.WITHHELD, "KEY": credentials.WITHHELD}) == []  # fmt: skip


@pytest.mark.parametrize(
    ("auth", "is_refused"), [(f"{{aws: {{{KEYS}}}}}", True), ("{aws: {api_key: {env: KEY}}}", False)]
)
def test_what_is_signed_with_its_body_cannot_pass_through(tmp_path: Path, auth: str, is_refused: bool) -> None:
    text = config(auth) + "routes: [{path: /files*, serve: passthrough, provider: c}]\n"
    refused = "5: routes.0.provider: calls of 'c' are signed with their bodies, so none can pass through"
    assert faults(tmp_path, text, ENVIRON) == ([refused] if is_refused else [])


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_worker_uses_what_was_sent_until_its_end(tmp_path: Path) -> None:
    spec = loaded(tmp_path, f"{{aws: {{{KEYS}, role: '{ROLE}'}}}}")
    assert isinstance(spec, CredentialSpec)
    clock = Clock()
    sent = SentCredentials(clock)
    sent.use([spec])
    assert not sent.ready() and sent.current(spec.name) is None
    sent.take(CredentialUpdate(spec.name, None, 0.0))
    assert sent.ready() and sent.current(spec.name) is None
    sent.take(CredentialUpdate(spec.name, bearer("a"), 110.0))
    assert sent.current(spec.name) == bearer("a")
    clock.now = 110.0
    assert sent.current(spec.name) is None


def test_calls_that_run_keep_the_credential_of_their_configuration(tmp_path: Path) -> None:
    old, new = (loaded(tmp_path, f"{{aws: {{{KEYS}, role: '{ROLE}{end}'}}}}") for end in ("a", "b"))
    assert isinstance(old, CredentialSpec) and isinstance(new, CredentialSpec)
    sent = SentCredentials(Clock())
    sent.use([old])
    for spec in (old, new):
        sent.take(CredentialUpdate(spec.name, bearer(spec.name), 200.0))
    sent.use([new])
    assert sent.current(old.name) == bearer(old.name) and sent.current(new.name) == bearer(new.name)
    sent.use([new])
    assert sent.current(old.name) is None


def test_a_credential_is_missing_once_it_has_been_asked_for() -> None:
    clock = [100.0]
    sent = SentCredentials(lambda: clock[0])
    assert not sent.is_missing("n")
    sent.take(CredentialUpdate("n", None, 0.0))
    assert sent.is_missing("n")
    sent.take(CredentialUpdate("n", bearer("a"), 200.0))
    assert not sent.is_missing("n")
    clock[0] = 200.0
    assert sent.is_missing("n")
    assert not CloudAccess(Given(bearer(SECRET))).is_missing


def test_access_gives_headers_and_what_is_to_be_concealed() -> None:
    signing = CloudAccess(Given(AwsKeys("id", SECRET, "token")), Scope("eu-central-1", "bedrock"))
    headers = signing.headers("a.example", {":path": "/x"}, 0.0)
    assert headers is not None and headers.keys() == {"authorization", "x-amz-date", "x-amz-security-token"}
    assert signing.secrets() == ("id", SECRET, "token")
    by_token = CloudAccess(Given(bearer(SECRET)))
    assert by_token.headers("a.example", {}, 0.0) == {"authorization": f"Bearer {SECRET}"}
    assert by_token.secrets() == (SECRET,)


@pytest.mark.parametrize("credential", [None, bearer("a"), AwsKeys("i", "s", "t")])
def test_updates_travel_as_orders_do(credential: AwsKeys | HeaderCredential | None) -> None:
    update = CredentialUpdate("n", credential, 5.5)
    assert msgspec.msgpack.decode(orders.encoded(update)[4:], type=orders.Message) == update
