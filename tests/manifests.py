"""What lies in deploy/kubernetes, by kind."""

from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "deploy" / "kubernetes"
ALL = sorted(path.name for path in FOLDER.glob("*.yaml"))
FILES = [name for name in ALL if name != "certificates.yaml"]  # which run something


def documents(file: str) -> list[Json]:
    return list(yaml.safe_load_all((FOLDER / file).read_text()))


def only(file: str, kind: str, name: str = "") -> Json:
    """The one document of this kind, and of this name where one is given."""
    named = [one for one in documents(file) if one["kind"] == kind and name in ("", one["metadata"]["name"])]
    [found] = named
    return found


def pod(file: str) -> Json:
    found: Json = only(file, "Deployment")["spec"]["template"]["spec"]
    return found


def containers(file: str) -> list[Json]:
    spec = pod(file)
    return [*spec.get("initContainers", []), *spec["containers"]]
