"""Stand-ins for Bedrock and for the places of AWS's credentials, and the gateway before them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e import clouds
from tests.e2e.clouds import MESSAGE, Answer, Cloud, Received, answered
from tests.e2e.stack import ONE_WORKER, Json, Stack, prompt, up
from tests.e2e.token_server import ROLE, SENT_KEYS, TokenServer

ARN = "arn:aws:bedrock:eu-central-1:111122223333:application-inference-profile/abcdefgh"
MODEL = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
CONFIG = f"""
authentication:
  jwt:
    - {{issuer: claude-code-lab, audiences: [anthropic-api], jwks: {{file: keys/jwks.json}}}}
providers:
  bedrock:
    cloud: aws-bedrock
    region: eu-central-1
    dialects: [messages, chat]
    base_url: "${{CLOUD_URL}}"
    auth: {{aws: {{keys: {{access_key_id: {{env: KEY_ID}}, secret_access_key: {{env: SECRET_KEY}}}}}}}}
  mantle:
    cloud: aws-bedrock-mantle
    region: eu-central-1
    dialects: [messages]
    base_url: "${{CLOUD_URL}}/anthropic"
    auth: {{aws: {{keys: {{access_key_id: {{env: KEY_ID}}, secret_access_key: {{env: SECRET_KEY}}}}}}}}
  platform:
    cloud: aws-claude-platform
    region: eu-central-1
    workspace: wrkspc_01
    dialects: [messages]
    base_url: "${{CLOUD_URL}}"
    auth: {{aws: {{keys: {{access_key_id: {{env: KEY_ID}}, secret_access_key: {{env: SECRET_KEY}}}}}}}}
models:
  - {{name: claude-x, provider: bedrock, model: "{MODEL}"}}
  - {{name: claude-mantle, provider: mantle, model: anthropic.claude-opus-4-8}}
  - {{name: claude-platform, provider: platform, model: claude-opus-4-8}}
  - {{name: claude-profile, provider: bedrock, model: "{ARN}"}}
  - {{name: gpt-oss, provider: bedrock, model: openai.gpt-oss-120b-1:0, prefer: [chat], profile: {{dialect: chat}}}}
  - {{name: "*", provider: bedrock}}
"""


# By the beginning of the path, the service for which a call must be signed.
SERVICES = {
    "model": "bedrock",
    "openai": "bedrock",
    "anthropic": "bedrock-mantle",
    "v1": "aws-external-anthropic",
}


def verify(seen: Received, method: str) -> str | None:
    return clouds.signed("eu-central-1", SERVICES[seen.target.split("/")[1]])(seen, method)


@dataclass(frozen=True)
class Bedrock:
    stack: Stack
    cloud: Cloud

    def ask(self, *answers: Answer, **more: object) -> Json:
        self.cloud.answer(*answers)
        found: Json = self.stack.call(prompt("hi", **more)).json()
        return found


@contextmanager
def running_bedrock(folder: Path) -> Iterator[Bedrock]:
    with ExitStack() as opened:
        cloud = opened.enter_context(Cloud(verify).serving())
        environ = {**SENT_KEYS, "CLOUD_URL": cloud.url}
        yield Bedrock(opened.enter_context(up(folder, environ=environ, config=CONFIG, arguments=ONE_WORKER)), cloud)


HEAD = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
providers:
"""
PLACES = {
    "role": f"{{aws: {{keys: KEYS, role: '{ROLE}', external_id: abc}}, endpoint: '${{TOKEN_URL}}/sts'}}",
    "web-identity": f"""{{
      aws: {{web_identity: {{role: '{ROLE}', token: {{file: token}}}}}},
      endpoint: '${{TOKEN_URL}}/sts'}}""",
    "container": "{aws: {container: true}}",
    "instance": "{aws: {instance: true}, endpoint: '${TOKEN_URL}'}",
    "profile": "{aws: {profile: of-a-role}, endpoint: '${TOKEN_URL}/sts'}",
}
KEYS = "{access_key_id: {env: KEY_ID}, secret_access_key: {env: SECRET_KEY}}"


def config(places: dict[str, str]) -> str:
    rows = [HEAD]
    for name, auth in places.items():
        rows.append(f"  {name}:\n    cloud: aws-bedrock\n    region: eu-central-1\n    dialects: [messages]\n")
        rows.append(f"    base_url: '${{CLOUD_URL}}'\n    auth: {auth.replace('KEYS', KEYS)}\n")
    rows.append("models:\n" + "".join(f"  - {{name: claude-{name}, provider: {name}, model: m}}\n" for name in places))
    return "".join(rows)


@dataclass(frozen=True)
class Aws:
    stack: Stack
    cloud: Cloud
    tokens: TokenServer


@contextmanager
def running(folder: Path, places: dict[str, str], lifetime: float = 3600) -> Iterator[Aws]:
    """Bedrock accepts the keys that were issued last, and those before them."""
    (folder / "token").write_text("the proof\n")
    profiles = f"[of-a-role]\nrole_arn = {ROLE}\nsource_profile = of-a-user\n[of-a-user]\n"
    profiles += f"aws_access_key_id = {clouds.KEYS.access_key}\naws_secret_access_key = {clouds.KEYS.secret_key}\n"
    (folder / "credentials").write_text(profiles)
    with ExitStack() as stack:
        tokens = stack.enter_context(TokenServer(lifetime).serving())

        def verify(seen: clouds.Received, method: str) -> str | None:
            found: str | None = "unknown keys"
            for number in range(tokens.issued, 0, -1):
                known = tokens.aws(number)
                if known.access_key in seen.headers.get("authorization", ""):
                    found = clouds.signed("eu-central-1", "bedrock", lambda: known)(seen, method)  # noqa: B023
            return found

        cloud = stack.enter_context(Cloud(verify).serving())
        cloud.answer(answered(MESSAGE))
        environ = {
            **SENT_KEYS,
            "CLOUD_URL": cloud.url,
            "TOKEN_URL": tokens.url,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{tokens.url}/container",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(folder / "token"),
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        }
        config_file = config(places)
        started = stack.enter_context(up(folder, environ=environ, config=config_file, arguments=["--workers", "2"]))
        yield Aws(started, cloud, tokens)
