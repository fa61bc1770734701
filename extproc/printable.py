"""Makes text from untrusted sources safe to print: a terminal obeys control characters, a spreadsheet runs formulas."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

MAX_TIME = 253_402_300_799
"""The last Unix second of the year 9999, beyond which Python and RFC 3339 have no times."""


def printable(text: str) -> str:
    """Returns one line, with `?` for each character that a terminal or a reader of lines would act on: controls (C0 and
    C1), line separators, bidirectional overrides."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def printable_lines(text: str) -> str:
    """Returns several lines, each as `printable` does."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(text: str) -> str:
    """Returns the same JSON, with such characters escaped."""
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def printable_time(seconds: int, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    """Returns a time in UTC, as in RFC 3339. `seconds`: Unix seconds; the nearest time from 1970 to 9999 counts."""
    return datetime.fromtimestamp(min(max(seconds, 0), MAX_TIME), UTC).strftime(form)


def for_spreadsheet(value: Any) -> Any:
    """Returns the value, with a quote before a text that begins as a formula does:
    https://owasp.org/www-community/attacks/CSV_Injection"""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def show(text: object, file: TextIO | None = None) -> None:
    print(printable_lines(str(text)), file=file, flush=True)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


def log_to_stderr() -> None:
    """Sends messages to standard error, printable, since they may quote a file."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("extproc").setLevel(logging.INFO)
