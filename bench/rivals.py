"""Other gateways for the same work, each in an environment of its own under .cache/ and with one worker."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.stack import free_port

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".cache" / "peers"
KEY = "sk-bench-0123456789abcdef0123456789abcdef0123"  # LiteLLM refuses shorter ones
START_SECONDS = 90


@dataclass(frozen=True)
class Rival:
    name: str
    port: int
    process: psutil.Process
    start_seconds: float

    def cpu(self) -> float:
        """Seconds so far, of the process and its children."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(times.user + times.system for times in (one.cpu_times() for one in family))

    def memory(self) -> int:
        """Resident bytes."""
        family = [self.process, *self.process.children(recursive=True)]
        return int(sum(one.memory_info().rss for one in family))


@contextmanager
def litellm(folder: Path, mock: int) -> Iterator[Rival]:
    """The route `hosted_vllm` uses Chat Completions; `openai` would use Responses."""
    binary = _installed_by_pip("litellm")
    model = {"model": "hosted_vllm/gpt-4o-mini", "api_base": f"http://127.0.0.1:{mock}/v1", "api_key": "x"}
    settings = {
        "model_list": [{"model_name": "claude-x", "litellm_params": model}],
        "general_settings": {"master_key": KEY},
    }
    (folder / "litellm.yaml").write_text(json.dumps(settings))  # JSON is YAML
    port = free_port()
    argv = [str(binary), "--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    with _running("LiteLLM", argv, folder, port, {"LITELLM_LOG": "ERROR"}) as rival:
        yield rival


@contextmanager
def claude_code_router(folder: Path, mock: int) -> Iterator[Rival]:
    binary = _installed_by_npm("claude-code-router") / "ccr"
    port = free_port()
    url = f"http://127.0.0.1:{mock}/v1/chat/completions"
    provider = {"name": "mock", "api_base_url": url, "api_key": "x", "models": ["gpt-4o-mini"]}
    settings = {"PORT": port, "HOST": "127.0.0.1", "APIKEY": KEY, "LOG": False, "Providers": [provider]}
    settings["Router"] = {"default": "mock,gpt-4o-mini"}
    home = folder / ".claude-code-router"
    home.mkdir()
    (home / "config.json").write_text(json.dumps(settings))
    with _running("claude-code-router", [str(binary), "start"], folder, port, {}) as rival:
        yield rival


def _installed_by_pip(name: str) -> Path:
    folder = HOME / name
    if not (folder / ".installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        subprocess.run([*pip, "--require-hashes", "-r", str(ROOT / "requirements-peers.txt")], check=True)
        (folder / ".installed").touch()
    return folder / "bin" / name


def _installed_by_npm(name: str) -> Path:
    folder = HOME / name
    if not (folder / "node_modules").exists():
        shutil.copytree(ROOT / "bench" / name, folder, dirs_exist_ok=True)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True)
    return folder / "node_modules" / ".bin"


@contextmanager
def _running(name: str, argv: Sequence[str], folder: Path, port: int, environ: Mapping[str, str]) -> Iterator[Rival]:
    began = time.perf_counter()
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **environ}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            argv, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while not _answers(port):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.perf_counter() - began < START_SECONDS, (folder / "log").read_text()
                time.sleep(0.02)
            yield Rival(name, port, psutil.Process(process.pid), time.perf_counter() - began)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _answers(port: int) -> bool:
    body = json.dumps({"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}]}).encode()
    headers = {"content-type": "application/json", "x-api-key": KEY}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/messages", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
