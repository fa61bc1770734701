"""envoy/envoy.yaml: a head of comments, which names a command, and what this command prints."""

import contextlib
import io
import os
import re
import shlex
from unittest import mock

from extproc.cli.main import main
from tests.manifests import ROOT

STATIC = ROOT / "envoy" / "envoy.yaml"
COMMAND = re.compile(r"#   (extproc envoy-config .*)")


def command(text: str) -> str:
    """Returns the command that the head names."""
    found = COMMAND.search(text)
    assert found, f"{STATIC} names no command"
    return found[1]


def written(text: str) -> str:
    """Returns the file as it should be: its head, and what the command prints without variables of the environment."""
    head = [line for line in text.splitlines(keepends=True) if line.startswith("#")]
    printed = io.StringIO()
    words = shlex.split(command(text))[1:]
    with contextlib.chdir(ROOT), mock.patch.dict(os.environ, clear=True), contextlib.redirect_stdout(printed):
        assert main(words) == 0
    return "".join(head) + printed.getvalue()
