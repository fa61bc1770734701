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

from tests import postgresql_server, redis_server
from tests.compose.engine import ROOT, Engine, NoEngine

WHEELS = ROOT / "build" / "wheels"
BASES = re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
# A base image that is there already stands for what the Dockerfile names now.
TAG = hashlib.sha256(str(BASES).encode()).hexdigest()[:12]
PYTHON, ENVOY, BUSYBOX = (f"extproc-test/{name}:{TAG}" for name in ("python", "envoy", "busybox"))
REDIS, POSTGRES = (f"extproc-test/{name}:{TAG}" for name in ("redis", "postgres"))
PROCESSOR, GATEWAY = "extproc-test/processor", "extproc-test/gateway"
BUDGETS = "extproc-test/processor-postgresql"
PACKAGES = "python3,python3-pip,python-is-python3,ca-certificates,busybox-static"
# What Debian's slim images do without.
UNWANTED = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/i18n"]
UNWANTED += ["var/cache/apt", "var/lib/apt/lists"]
LIBRARIES = ["libc.so.6", "libm.so.6", "librt.so.1", "libdl.so.2", "libpthread.so.0"]
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
# What the official image's entrypoint does with the variables of compose.yaml.
START_POSTGRES = """#!/bin/sh
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb -D "$PGDATA" --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" \\
    --auth=scram-sha-256 --no-locale --encoding=UTF8
  echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -D "$PGDATA" postgres
  echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
fi
exec "$@"
"""
# The build looks for packages nowhere else.
PIP_CONFIG = "[global]\nno-index = true\nfind-links = /src/build/wheels\n"


def build(engine: Engine) -> None:
    """Raises NoEngine if the base images can not be made here."""
    python, debian = _defaults()
    if not all(engine.has_image(name) for name in (PYTHON, ENVOY, BUSYBOX)):
        _make_bases(engine, debian)
    if not all(engine.has_image(name) for name in (REDIS, POSTGRES)):
        _make_servers(engine)
    _download_wheels(python)
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
        config.write(PIP_CONFIG)
        config.flush()
        secret = ["--secret", f"id=pip,src={config.name}"]
        for target, name in (("processor", PROCESSOR), ("envoy", GATEWAY)):
            bases = {"PYTHON_IMAGE": PYTHON, "ENVOY_IMAGE": ENVOY, "BUSYBOX_IMAGE": BUSYBOX}
            arguments = [word for key, value in bases.items() for word in ("--build-arg", f"{key}={value}")]
            engine.build("--network", "none", *secret, *arguments, "--target", target, "--tag", name, str(ROOT))
        file, base = str(ROOT / "deploy/budgets/Dockerfile"), f"PROCESSOR_IMAGE={PROCESSOR}"
        engine.build("--network", "none", *secret, "--build-arg", base, "--file", file, "--tag", BUDGETS, str(ROOT))


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


def _make_servers(engine: Engine) -> None:
    """Of this machine's own programs, and the libraries that they load."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "passwd").write_text("server:x:65532:65532::/:/bin/sh\n")
        (folder / "start").write_text(START_POSTGRES)
        (folder / "start").chmod(0o755)
        (folder / "empty").mkdir()
        redis = [Path(redis_server.binary()), Path(shutil.which("redis-cli") or "/nowhere")]
        files = [(path.resolve(), f"usr/bin/{path.name}") for path in redis] + [(folder / "empty", "tmp")]
        _import(engine, REDIS, [*files, *_libraries(redis)])
        programs = postgresql_server.programs()
        shell, shared = Path("/bin/sh").resolve(), Path(f"/usr/share/postgresql/{programs.parent.name}")
        files = [(folder / "passwd", "etc/passwd"), (folder / "start", "start"), (folder / "empty", "tmp")]
        files += [(shell, "bin/sh"), *((path, str(path).lstrip("/")) for path in (programs.parent, shared))]
        modules = list((programs.parent / "lib").glob("*.so"))
        libraries = _libraries([shell, *programs.iterdir(), *modules])
        changes = ['ENTRYPOINT ["/start"]', 'CMD ["postgres"]', f"ENV PATH={programs}:/bin"]
        _import(engine, POSTGRES, [*files, *libraries], *changes)


def _libraries(programs: Iterable[Path]) -> Iterable[tuple[Path, str]]:
    """What the dynamic linker of this machine finds for them, at the same paths."""
    found: set[str] = set()
    for program in programs:
        told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        found |= set(re.findall(r"(/\S+) \(0x", told))
    return [(Path(path).resolve(), path.lstrip("/")) for path in sorted(found)]


def _import(engine: Engine, name: str, content: Iterable[tuple[Path, str]], *changes: str) -> None:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, inside in content:
            archive.add(path, inside or ".")
    options = [word for change in changes or ("CMD none",) for word in ("--change", change)]
    engine.run(["docker", "import", *options, "-", name], data=packed.getvalue())


def _download_wheels(python: str) -> None:
    """As the index and the settings of this machine's pip have them; each is held against its hash."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", python, "--dest", str(WHEELS)]
    for name in ("requirements.txt", "requirements-postgresql.txt"):
        subprocess.run([*command, "-r", str(ROOT / name)], check=True, cwd=ROOT)
