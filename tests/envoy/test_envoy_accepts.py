"""Envoy itself finds no fault with what it is told, whatever the configuration."""

import json
import os
import re
import subprocess
from contextlib import redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml

from extproc.cli.main import main
from extproc.config import loading
from extproc.envoy import configuration
from extproc.supervisor import up
from tests.certificates import certificate
from tests.manifests import ROOT, only
from tests.settings import AUTHENTICATION

KEYS = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "DEEPSEEK_API_KEY": "k"}
SMALL = f"""
{AUTHENTICATION}
providers:
  local: {{dialects: [chat], base_url: "http://127.0.0.1:11434/v1"}}
models: [{{name: "*", provider: local}}]
"""
FILES = {path.stem: path.read_text() for path in [*(ROOT / "examples").glob("*.yaml"), ROOT / "gateway.yaml"]}
CONFIGURATIONS = {
    **FILES,
    "compose": (ROOT / "deploy/compose/gateway.yaml").read_text(),
    "kubernetes": only("sidecar.yaml", "ConfigMap")["data"]["gateway.yaml"],
    "tls": SMALL + "listen: {address: '::', port: 8443, tls: {certificate: server.pem, key: server.pem}}\n",
    "a judge": SMALL + "auto_mode: {judge: {model: any}}\n",
    "client certificates": SMALL.replace("authentication: {", "authentication: {certificates: {}, ")
    + "listen: {tls: {certificate: server.pem, key: server.pem, client_ca: ca.pem}}\n",
    "sign-in": SMALL
    + "sign_in: {public_url: 'https://a.example', issuer: 'https://b.example', client_id: x}\n"
    + "web: {address: '127.0.0.1:9100'}\n",
    "own authority": SMALL.replace('"http://127.0.0.1:11434/v1"', '"https://model.example", ca_file: ca.pem'),
}
PROCESSORS = {
    "one socket": ["--workers", "1"],
    "several sockets": ["--processor", "unix:/run/p.sock", "--workers", "3"],
    "TCP": ["--processor", "127.0.0.1:9000", "--workers", "2"],
}
CLIENT = "processor: {client: {certificate: server.pem, key: server.pem, ca_file: ca.pem}}\n"


def written(folder: Path, text: str) -> Path:
    certificate(folder, "localhost")
    (folder / "gateway.yaml").write_text(text)
    return folder / "gateway.yaml"


def accepts(folder: Path, *arguments: str) -> None:
    argv = [up.binary_path(), "--mode", "validate", "--log-level", "error", *arguments]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr


def rendered(path: Path, *arguments: str) -> Path:
    """By the command."""
    made = path.parent / "envoy.json"
    with made.open("w") as file, redirect_stdout(file), patch.dict(os.environ, KEYS):
        assert main(["envoy-config", "--config", str(path), *arguments]) == 0
    return made


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_configuration(tmp_path: Path, name: str) -> None:
    accepts(tmp_path, "-c", str(rendered(written(tmp_path, CONFIGURATIONS[name]))))


@pytest.mark.parametrize("name", PROCESSORS)
def test_every_kind_of_processor(tmp_path: Path, name: str) -> None:
    accepts(tmp_path, "-c", str(rendered(written(tmp_path, SMALL), *PROCESSORS[name])))


@pytest.mark.parametrize("address", ["processor:9000", "192.0.2.1:9000", "[2001:db8::1]:9000"])
def test_a_processor_that_is_reached_with_mutual_tls(tmp_path: Path, address: str) -> None:
    path = written(tmp_path, SMALL + CLIENT)
    accepts(tmp_path, "-c", str(rendered(path, "--processor", address, "--workers", "2")))
    configuration.write(loading.load(path, {}), [address], tmp_path)
    accepts(tmp_path, "-c", "bootstrap.json")


def test_a_fault_would_be_seen(tmp_path: Path) -> None:
    made = rendered(written(tmp_path, SMALL))
    made.write_text(made.read_text().replace('"LEAST_REQUEST"', '"LEAST_OR_SO"'))
    with pytest.raises(AssertionError, match="LEAST_OR_SO"):
        accepts(tmp_path, "-c", str(made))


@pytest.mark.parametrize("name", ["balancer.yaml", "envoy.yaml"])
def test_files_that_operators_start_envoy_with(tmp_path: Path, name: str) -> None:
    text = (ROOT / "envoy" / name).read_text("utf-8")
    # The only part of them that may be missing on this machine: the file of public authorities.
    certificate(tmp_path, "localhost")
    (tmp_path / name).write_text(text.replace("/etc/ssl/certs/ca-certificates.crt", str(tmp_path / "ca.pem")))
    accepts(tmp_path, "-c", name)


def test_the_folder_with_what_the_container_adds(tmp_path: Path) -> None:
    """Its own access to the admin socket."""
    source = loading.load(written(tmp_path, SMALL), {})
    configuration.write(source, ["unix:/run/p.sock"], tmp_path)
    script = (ROOT / "envoy/entrypoint.sh").read_text()
    [added] = re.findall(r"admin='(.*?)'\n", script, re.DOTALL)
    assert json.dumps(yaml.safe_load(added)).count("admin.sock") == 1
    accepts(tmp_path, "-c", "bootstrap.json", "--config-yaml", added)
