"""An interactive program in a terminal of its own: keys that are typed, and what the screen shows."""

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

SECONDS = 120.0
LOOK_SECONDS = 0.1


class Terminal:
    def __init__(self, socket: str) -> None:
        self._tmux = ["tmux", "-S", socket, "-f", "/dev/null"]

    def _run(self, *words: str) -> str:
        done = subprocess.run([*self._tmux, *words], capture_output=True, text=True, timeout=SECONDS, check=True)
        return done.stdout

    def start(self, argv: Sequence[str], environ: Mapping[str, str], folder: Path) -> None:
        line = shlex.join(["env", "-i", *(f"{name}={value}" for name, value in environ.items()), *argv])
        self._run("new-session", "-d", "-x", "150", "-y", "50", "-c", str(folder), f"{line}; echo ended with $?; cat")

    def stop(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self._run("kill-server")

    @property
    def screen(self) -> str:
        """With what has scrolled away."""
        return self._run("capture-pane", "-p", "-J", "-S", "-500")

    def press(self, *keys: str) -> None:
        """By tmux's names, such as Enter."""
        self._run("send-keys", *keys)

    def say(self, text: str) -> None:
        """A line, with Enter behind it."""
        self._run("send-keys", "-l", text)
        self.wait(lambda screen: text.splitlines()[-1][-30:] in screen)
        self.press("Enter")

    def wait(self, fits: Callable[[str], bool], seconds: float = SECONDS) -> str:
        deadline = time.monotonic() + seconds
        while not fits(screen := self.screen):
            assert time.monotonic() < deadline, screen
            time.sleep(LOOK_SECONDS)
        return screen

    def shows(self, text: str) -> str:
        return self.wait(lambda screen: text in screen)


@contextlib.contextmanager
def terminal(argv: Sequence[str], environ: Mapping[str, str], folder: Path) -> Iterator[Terminal]:
    if shutil.which("tmux") is None and os.environ.get("TOOLS") != "required":
        pytest.skip("there is no tmux on this machine")
    # A socket's path must stay short.
    with tempfile.TemporaryDirectory(prefix="tmux-") as name:
        running = Terminal(f"{name}/socket")
        try:
            running.start(argv, {"TERM": "xterm-256color", "LANG": "C.UTF-8", **environ}, folder)
            yield running
        finally:
            running.stop()
