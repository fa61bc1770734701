"""The demo Claude: a server that speaks Anthropic's Messages on loopback and follows scripts (`script.py`).

python -m extproc.demo.claude_model --port 0 --ready-file address.txt
"""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from extproc.demo import serving
from extproc.demo.claude_reply import Claude


def running(
    *, key: str = "", record: Path | None = None, host: str = "127.0.0.1", port: int = 0
) -> AbstractContextManager[str]:
    """The model in a thread, for tests; gives its base URL, `http://127.0.0.1:<port>`."""
    return serving.running(Claude(key), record=record, host=host, port=port)


def main(argv: Sequence[str] | None = None) -> int:
    return serving.main(Claude, "extproc.demo.claude_model", "The demo Claude (Anthropic Messages).", argv)


if __name__ == "__main__":
    sys.exit(main())
