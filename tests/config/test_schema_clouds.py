"""Keys of clouds: what is required, what does not belong together, and the addresses that follow."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.endpoint_provider import EndpointProvider
from botocore.loaders import Loader

from extproc.config.schema_clouds import aws_domain, usual_address
from tests.settings import AUTHENTICATION, faults, gateway

ROLE = "arn:aws:iam::111122223333:role/r"
BEDROCK: dict[str, Any] = {"cloud": "aws-bedrock", "region": "eu-central-1", "dialects": ["messages"]}
VERTEX: dict[str, Any] = {"cloud": "google-vertex", "project": "p", "location": "eu", "dialects": ["messages"]}
AZURE: dict[str, Any] = {"cloud": "azure-openai", "base_url": "https://x.openai.azure.com", "dialects": ["chat"]}
FOUNDRY: dict[str, Any] = {"cloud": "azure-foundry", "base_url": "https://x.services.ai.azure.com/anthropic/"}
KEYS = {"access_key_id": {"env": "OPENAI_API_KEY"}, "secret_access_key": {"env": "OPENAI_API_KEY"}}


def text(provider: dict[str, Any]) -> str:
    config = {"providers": {"c": provider}, "models": [{"name": "m", "provider": "c"}]}
    return f"{AUTHENTICATION}\n{yaml.safe_dump(config)}"


@pytest.mark.parametrize(
    ("provider", "says"),
    [
        (BEDROCK | {"region": None}, "region: required for aws-bedrock"),
        (BEDROCK | {"region": "Frankfurt"}, "String should match pattern"),
        (BEDROCK | {"location": "eu"}, "location: not for aws-bedrock"),
        (BEDROCK | {"cloud": "aws"}, "Input should be 'aws-bedrock'"),
        (BEDROCK | {"cloud": "aws-claude-platform"}, "workspace: required for aws-claude-platform"),
        (BEDROCK | {"api_key": {"env": "K"}}, "a cloud's credential is in `auth`"),
        (BEDROCK | {"auth": {}}, "expected exactly one of: aws, google, azure"),
        (BEDROCK | {"auth": {"google": {"metadata": True}}}, "auth: aws-bedrock needs auth.aws"),
        (BEDROCK | {"auth": {"aws": {}}}, "expected exactly one of: keys, profile, web_identity, container, instance"),
        (BEDROCK | {"auth": {"aws": {"instance": True, "container": True}}}, "expected exactly one of: keys"),
        (BEDROCK | {"auth": {"aws": {"role": ROLE}}}, "expected exactly one of: keys"),
        (BEDROCK | {"auth": {"aws": {"api_key": {"env": "K"}, "role": ROLE}}}, "role: not with api_key"),
        (BEDROCK | {"auth": {"aws": {"keys": KEYS, "role": "admin"}}}, "String should match pattern"),
        (BEDROCK | {"auth": {"aws": {"keys": {"access_key_id": "AKIA"}}}}, "never the value itself"),
        (BEDROCK | {"auth": {"aws": {"instance": True}, "endpoint": "http://x.example"}}, "expected an HTTPS URL"),
        (BEDROCK | {"auth": {"aws": {"keys": KEYS}, "ca_file": "none.pem"}}, ""),
        (VERTEX | {"project": None}, "project: required for google-vertex"),
        (VERTEX | {"dialects": ["responses"]}, "google-vertex does not speak responses; it speaks: messages, chat"),
        (VERTEX | {"auth": {"google": {}}}, "expected exactly one of: service_account"),
        (VERTEX | {"auth": {"google": {"service_account": {"env": "OPENAI_API_KEY"}}}}, "expected the JSON key"),
        (AZURE | {"base_url": None}, "base_url: required for azure-openai"),
        (AZURE | {"api_version": "v1"}, "String should match pattern"),
        (AZURE | {"auth": {"azure": {"managed_identity": {}, "key": {"env": "K"}}}}, "expected exactly one of: key"),
        ({"dialects": ["chat"], "base_url": "http://a", "region": "eu-central-1"}, "region: only with `cloud`"),
        ({"dialects": ["chat"]}, "this key is required"),
    ],
)
def test_mistakes(tmp_path: Path, provider: dict[str, Any], says: str) -> None:
    given = {name: value for name, value in provider.items() if value is not None}
    found = faults(tmp_path, text(given))
    assert any(says in line and "providers.c" in line for line in found) if says else found == []


@pytest.mark.parametrize(
    ("provider", "address"),
    [
        (BEDROCK, "https://bedrock-runtime.eu-central-1.amazonaws.com"),
        (BEDROCK | {"region": "us-gov-west-1"}, "https://bedrock-runtime.us-gov-west-1.amazonaws.com"),
        (BEDROCK | {"region": "cn-north-1"}, "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"),
        (BEDROCK | {"base_url": "https://vpce-1.example:8443/"}, "https://vpce-1.example:8443"),
        (BEDROCK | {"cloud": "aws-bedrock-mantle"}, "https://bedrock-mantle.eu-central-1.api.aws"),
        (
            BEDROCK | {"cloud": "aws-claude-platform", "workspace": "w"},
            "https://aws-external-anthropic.eu-central-1.api.aws",
        ),
        (VERTEX, "https://aiplatform.eu.rep.googleapis.com"),
        (VERTEX | {"location": "global"}, "https://aiplatform.googleapis.com"),
        (VERTEX | {"location": "europe-west1"}, "https://europe-west1-aiplatform.googleapis.com"),
        (AZURE | {"base_url": "https://x.openai.azure.com/openai/v1/"}, "https://x.openai.azure.com"),
        (FOUNDRY | {"dialects": ["messages"]}, "https://x.services.ai.azure.com"),
        (
            FOUNDRY | {"dialects": ["messages"], "base_url": "https://x.example/anthropic/v1"},
            "https://x.example",
        ),
    ],
)
def test_addresses(tmp_path: Path, provider: dict[str, Any], address: str) -> None:
    assert gateway(tmp_path, text(provider)).providers["c"].base_url == address


def test_regions_have_the_domains_that_botocore_knows() -> None:
    partitions = Loader().load_data("partitions")["partitions"]
    regions = 0
    for partition in partitions:
        outputs = partition["outputs"]
        for region in partition["regions"]:
            if region.endswith("global"):
                continue
            assert (aws_domain(region), aws_domain(region, newer=True)) == (
                outputs["dnsSuffix"],
                outputs["dualStackDnsSuffix"],
            ), region
            regions += 1
    assert regions > 30


def test_the_endpoint_of_bedrock_is_botocores() -> None:
    rules = Loader().load_service_model("bedrock-runtime", "endpoint-rule-set-1")
    provider = EndpointProvider(rules, Loader().load_data("partitions"))
    for region in ("eu-central-1", "us-gov-west-1", "cn-north-1", "eusc-de-east-1", "us-iso-east-1"):
        found = provider.resolve_endpoint(Region=region, UseDualStack=False, UseFIPS=False)
        assert usual_address("aws-bedrock", region, "") == found.url
