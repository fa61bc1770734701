"""Where exceptions out of nested functions become values."""

from collections.abc import Callable
from typing import TypeVar

from extproc.errors import Rejection, invalid
from extproc.translate.want import Refused

T = TypeVar("T")


def attempt(make: Callable[[], T]) -> T | Rejection:
    """What `make` makes, or why it could not, whatever the body."""
    try:
        return make()
    except Refused as stop:
        return stop.rejection
    except UnicodeEncodeError:
        return invalid("", "The body holds text that is not valid Unicode")
    except RecursionError:
        return invalid("", "The body is nested too deeply")
