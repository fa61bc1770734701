"""A server of the Model Context Protocol over stdio with one tool, `write`, that takes any object.

Run as a program; each call's arguments become a line of the file named by the first argument.
https://modelcontextprotocol.io/specification
"""

import json
import sys
from pathlib import Path
from typing import Any

NAME = "notes"
TOOL = "write"


def result_of(message: dict[str, Any], log: Path) -> dict[str, Any]:
    match message["method"]:
        case "initialize":
            info = {"name": NAME, "version": "1"}
            version = message["params"]["protocolVersion"]
            return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
        case "tools/list":
            return {"tools": [{"name": TOOL, "description": "Writes a note.", "inputSchema": {"type": "object"}}]}
        case "tools/call":
            with log.open("a") as file:
                file.write(json.dumps(message["params"].get("arguments")) + "\n")
            return {"content": [{"type": "text", "text": "written"}]}
        case _:
            return {}


def main(log: Path) -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message and "method" in message:
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": result_of(message, log)}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
