"""The folder `envoy/`, which operators read and mount, has what the package has."""

import os
import shlex
import subprocess
import sys

import pytest
import yaml

from tests.envoy_files import STATIC, command, written
from tests.manifests import ROOT


def test_the_static_configuration_is_what_the_command_prints() -> None:
    words = shlex.split(command(STATIC.read_text("utf-8")))
    assert words[:2] == ["extproc", "envoy-config"]
    # Without this machine's variables: gateway.yaml names some.
    environ = {"PATH": os.environ["PATH"]}
    argv = [sys.executable, "-m", *words]
    done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert STATIC.read_text("utf-8").endswith(f"\n{done.stdout}"), "run: python -m tests.write_docs"
    assert written(STATIC.read_text("utf-8")) == STATIC.read_text("utf-8")


def test_the_static_configuration_names_nothing_of_this_machine() -> None:
    text = STATIC.read_text("utf-8")
    assert str(ROOT) not in text
    assert text.count("trusted_ca: {filename: /etc/ssl/certs/ca-certificates.crt}") == 1


def test_yaml_and_json_are_the_same_configuration() -> None:
    printed = {}
    for form in ("json", "yaml"):
        argv = [sys.executable, "-m", "extproc", "envoy-config", "--format", form]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
        printed[form] = yaml.safe_load(done.stdout)
    assert printed["json"] == printed["yaml"] and printed["yaml"]["static_resources"]["listeners"]


@pytest.mark.parametrize("name", ["bootstrap.yaml"])
def test_what_the_wheel_has_is_the_same(name: str) -> None:
    assert (ROOT / "envoy" / name).read_bytes() == (ROOT / "extproc" / "envoy" / name).read_bytes()
