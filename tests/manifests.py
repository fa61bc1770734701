"""What lies in deploy/kubernetes, by kind."""

from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "deploy" / "kubernetes"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))


def documents(file: str) -> list[Json]:
    return list(yaml.safe_load_all((FOLDER / file).read_text()))


def only(file: str, kind: str) -> Json:
    [found] = [document for document in documents(file) if document["kind"] == kind]
    return found


def pod(file: str) -> Json:
    found: Json = only(file, "Deployment")["spec"]["template"]["spec"]
    return found


def containers(file: str) -> list[Json]:
    spec = pod(file)
    return [*spec.get("initContainers", []), *spec["containers"]]
