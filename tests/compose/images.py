"""The product's images on base images that are made here, of Debian's packages and the wheel of Envoy: no registry of
images is asked. Their names stand for the official ones that the Dockerfile names."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from tests.compose.engine import ROOT, Engine, NoEngine

WHEELS = ROOT / "build" / "wheels"
BASES = re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
# A base image that is there already stands for what the Dockerfile names now.
TAG = hashlib.sha256(str(BASES).encode()).hexdigest()[:12]
PYTHON, ENVOY, BUSYBOX = (f"extproc-test/{name}:{TAG}" for name in ("python", "envoy", "busybox"))
PROCESSOR, GATEWAY = "extproc-test/processor", "extproc-test/gateway"
PACKAGES = "python3,python3-pip,python-is-python3,ca-certificates,busybox-static"
# What Debian's slim images do without.
UNWANTED = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/i18n"]
UNWANTED += ["var/cache/apt", "var/lib/apt/lists"]
LIBRARIES = ["libc.so.6", "libm.so.6", "librt.so.1", "libdl.so.2", "libpthread.so.0"]
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
# The build looks for packages nowhere else.
PIP_CONFIG = "[global]\nno-index = true\nfind-links = /src/build/wheels\n"


def build(engine: Engine) -> None:
    """Raises NoEngine if the base images can not be made here."""
    python, debian = _defaults()
    if not all(engine.has_image(name) for name in (PYTHON, ENVOY, BUSYBOX)):
        _make_bases(engine, debian)
    _download_wheels(python)
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
        config.write(PIP_CONFIG)
        config.flush()
        for target, name in (("processor", PROCESSOR), ("envoy", GATEWAY)):
            bases = {"PYTHON_IMAGE": PYTHON, "ENVOY_IMAGE": ENVOY, "BUSYBOX_IMAGE": BUSYBOX}
            arguments = [word for key, value in bases.items() for word in ("--build-arg", f"{key}={value}")]
            secret = ["--secret", f"id=pip,src={config.name}"]
            engine.build("--network", "none", *secret, *arguments, "--target", target, "--tag", name, str(ROOT))


def _defaults() -> tuple[str, str]:
    """Version of Python and release of Debian, as the Dockerfile has them by default."""
    found = re.fullmatch(r"python:([\d.]+)-slim-(\w+)", dict(BASES)["PYTHON_IMAGE"])
    assert found
    return found[1], found[2]


def _make_bases(engine: Engine, debian: str) -> None:
    if os.geteuid() or shutil.which("debootstrap") is None:
        raise NoEngine("base images are made by root with debootstrap (Debian: apt-get install debootstrap)")
    with tempfile.TemporaryDirectory(prefix="extproc-debian-") as name:
        root = Path(name)
        engine.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", debian, name])
        for path in UNWANTED:
            shutil.rmtree(root / path, ignore_errors=True)
        _import(engine, PYTHON, [(root, "")], "CMD python3")
        _import(engine, BUSYBOX, [(root / "bin/busybox", "bin/busybox")])
        _import(engine, ENVOY, _envoys(root))


def _envoys(root: Path) -> Iterable[tuple[Path, str]]:
    """The binary and what it needs of a system, as in an image without a distribution."""
    yield next(Path(sys.prefix).rglob("envoy/_bin/envoy")), "usr/local/bin/envoy"
    yield root / CERTIFICATES, CERTIFICATES
    folder = next((root / "usr/lib").glob("*-linux-gnu"))
    for library in LIBRARIES:
        yield (folder / library).resolve(), f"lib/{folder.name}/{library}"
    for loader in folder.glob("ld-linux-*"):  # /lib64 on x86-64, /lib on arm64
        for place in ("lib64", "lib"):
            yield loader.resolve(), f"{place}/{loader.name}"


def _import(engine: Engine, name: str, content: Iterable[tuple[Path, str]], change: str = "CMD none") -> None:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, inside in content:
            archive.add(path, inside or ".")
    engine.run(["docker", "import", "--change", change, "-", name], data=packed.getvalue())


def _download_wheels(python: str) -> None:
    """As the index and the settings of this machine's pip have them; each is held against its hash."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", python, "--dest", str(WHEELS)]
    subprocess.run([*command, "-r", str(ROOT / "requirements.txt")], check=True, cwd=ROOT)
