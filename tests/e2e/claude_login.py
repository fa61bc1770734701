"""Claude Code's own `/login` on a company's machine, in a terminal, without a human.

The machine's managed settings are in /etc/claude-code. Here only the client sees them: it runs in a mount namespace of
its own, with a copy of /etc.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.stack import Json
from tests.e2e.terminal import Terminal, terminal

QUIET = {"DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "IS_SANDBOX": "1"}
CURSOR = "\N{HEAVY RIGHT-POINTING ANGLE QUOTATION MARK ORNAMENT}"
NO = re.compile(rf"{CURSOR} (\d\. )?No")
YES = re.compile(rf"{CURSOR} (\d\. )?(Yes|Trust|Approve|Accept|Continue)")
READY = re.compile(r"\? for shortcuts|shift\+tab to cycle")
CODE = re.compile(r"Code:\s+([A-Z]{4}-[A-Z]{4})")
SECONDS = 120.0
KEY_SECONDS = 3.0
"""A key that came before the menu was ready is lost; one that is pressed twice may choose the wrong line."""


@dataclass
class Machine:
    """A developer's machine: a home, and settings that its administrator has put into /etc/claude-code."""

    binary: Path
    folder: Path
    gateway: str
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("home", "work", "bin"):
            (self.folder / name).mkdir(exist_ok=True)
        (self.folder / "bin" / "claude").symlink_to(self.binary)
        opener = self.folder / "bin" / "open-browser"
        opener.write_text(f'#!/bin/sh\necho "$1" >> {shlex.quote(str(self.opened))}\n')
        opener.chmod(0o755)
        etc = self.folder / "etc"
        subprocess.run(["cp", "-a", "/etc", str(etc)], check=False, stderr=subprocess.DEVNULL)
        (etc / "claude-code").mkdir(exist_ok=True)
        self.manage({"forceLoginMethod": "gateway", "forceLoginGatewayUrl": self.gateway})

    @property
    def opened(self) -> Path:
        """The URLs that the client has opened in a browser, one a line."""
        return self.folder / "opened"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def manage(self, settings: Json) -> None:
        """The administrator's file."""
        (self.folder / "etc" / "claude-code" / "managed-settings.json").write_text(json.dumps(settings))

    def credentials(self) -> Json:
        """What the client has stored of its sign-in."""
        stored: Json = json.loads((self.home / ".claude" / ".credentials.json").read_text())
        return stored

    def store(self, credentials: Json) -> None:
        (self.home / ".claude" / ".credentials.json").write_text(json.dumps(credentials))

    def environment(self) -> dict[str, str]:
        needed = {str(Path(found).parent) for name in ("sh", "bash", "cat") if (found := shutil.which(name))}
        path = os.pathsep.join([str(self.folder / "bin"), *sorted(needed)])
        return {"PATH": path, "HOME": str(self.home), "BROWSER": str(self.folder / "bin" / "open-browser"),
                "TMPDIR": str(self.folder), **QUIET, **self.environ}  # fmt: skip

    def command(self, *arguments: str) -> list[str]:
        etc = shlex.quote(str(self.folder / "etc"))
        inside = f"mount --bind {etc} /etc && exec {shlex.join([str(self.binary), *arguments])}"
        user = [] if os.getuid() == 0 else ["--map-root-user"]
        return ["unshare", "--mount", *user, "bash", "-c", inside]

    def popen(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(*arguments), env=self.environment(), cwd=self.folder / "work", text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), env=self.environment() | environ, cwd=self.folder / "work",
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip

    @contextmanager
    def session(self, *arguments: str) -> Iterator[Terminal]:
        with terminal(self.command(*arguments), self.environment(), self.folder / "work") as running:
            yield running


def needs_namespaces() -> None:
    if sys.platform != "linux":
        pytest.skip("mount namespaces are Linux's")
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip("this user may not have a mount namespace, so /login cannot be tried")


def sign_in(session: Terminal, machine: Machine, approve: Callable[[str], None]) -> Sequence[str]:
    """Answers what the client shows until it is ready. `approve`: does the browser's part, for the URL that the client
    has opened. Returns the screens."""
    screens: list[str] = []
    done: set[str] = set()
    pressed = 0.0

    def step(screen: str) -> bool:
        nonlocal pressed
        if not screens or screens[-1] != screen:
            screens.append(screen)
        elif not NO.search(screen) or time.monotonic() - pressed < KEY_SECONDS:
            return False  # the client has not taken the last key yet
        pressed = time.monotonic()
        if (code := CODE.search(screen)) and code[1] not in done:
            if not machine.opened.exists():
                return False
            done.add(code[1])
            approve(machine.opened.read_text().split()[-1])
        elif code:
            return False
        elif NO.search(screen):
            session.press("Up")
        elif YES.search(screen) or re.search(r"text style|[Ee]nter to (connect|continue)|Login successful", screen):
            session.press("Enter")
        return bool(READY.search(screen)) and CURSOR in screen

    session.wait(step, SECONDS)
    return screens
