"""The demo model: a server that speaks OpenAI Chat Completions on loopback and follows scripts (`script.py`).

python -m extproc.demo.model --port 0 --ready-file address.txt
"""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from extproc.demo import serving
from extproc.demo.reply import Model


def running(
    *, key: str = "", record: Path | None = None, host: str = "127.0.0.1", port: int = 0
) -> AbstractContextManager[str]:
    """The model in a thread, for tests; gives its base URL, `http://127.0.0.1:<port>/v1`."""
    return serving.running(Model(key), record=record, host=host, port=port)


def main(argv: Sequence[str] | None = None) -> int:
    return serving.main(Model, "extproc.demo.model", "The demo model (OpenAI Chat Completions).", argv)


if __name__ == "__main__":
    sys.exit(main())
