"""How the commands declare their arguments, and the types of values that several share."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from extproc.printable import show

Run = Callable[[argparse.Namespace], int]
"""Runs a command and returns its exit status."""
AddArgument = Callable[[argparse.ArgumentParser], object]
AddCommand = Callable[..., None]
"""Takes name, description, an example, what runs it, and its arguments."""

TOKEN_VARIABLE = "EXTPROC_TOKEN"  # noqa: S105 - a name
"""The environment's variable for a token that is not to stand in the list of processes."""
USAGE = 2
"""The exit status for a mistake in the command line or the configuration."""


def argument(*names: str, **settings: Any) -> AddArgument:
    return lambda parser: parser.add_argument(*names, **settings)


def positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("expected a number from 1")
    return int(text)


def address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not (text.startswith("unix:/") or (host and port.isdecimal() and 0 < int(port) < 65536)):
        raise argparse.ArgumentTypeError("expected unix:/PATH or HOST:PORT")
    return text


def complain(error: Exception | str, status: int) -> int:
    """Shows what is wrong, and returns the exit status."""
    show(error, sys.stderr)
    return status
