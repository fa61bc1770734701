"""A gateway that judges calls of tools, with a judge whose answers are scripted."""

import json

from tests.e2e.raw_provider import whole
from tests.e2e.stack import GATEWAY, Json, Stack, prompt

AUTO_MODE = """
auto_mode:
  rules:
    - {when: 'tool.name == "Bash" && tool.input.command.startsWith("echo allowed")', outcome: allow}
    - when: 'tool.name == "Bash" && tool.input.command.contains("rm -rf")'
      outcome: deny
      explanation: nothing is removed with rm -rf here
  judge: {model: judge, timeout: 2, instructions: Nobody runs curl.}
"""
PLAIN = GATEWAY.replace("models:\n", "models:\n  - {name: judge, provider: judging}\n").replace(
    "providers:\n", 'providers:\n  judging: {dialects: [chat], base_url: "${JUDGE_URL}"}\n'
)
CONFIG = AUTO_MODE + PLAIN
SAFEGUARDS = [{"type": "dangerous_tool_use", "classifier_context": {"v": 1, "live_cwd": "/work"}}]


def answers(verdict: str) -> bytes:
    message = {"role": "assistant", "content": verdict}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 50, "completion_tokens": 9, "total_tokens": 59}
    return whole(json.dumps({"id": "j", "object": "chat.completion", "model": "judge", "choices": [choice],
                             "usage": usage}).encode())  # fmt: skip


def asked(stack: Stack, command: str, *, stream: bool, before: str = "") -> tuple[Json, Json]:
    """The verdict on a call of Bash, and the access log's line. `before`: what stands in the prompt."""
    text = f"{before}\ndemo: say Let me see.\ndemo: call Bash {json.dumps({'command': command})}"
    tool = {"name": "Bash", "input_schema": {"type": "object"}}
    response = stack.call(prompt(text, safeguards=SAFEGUARDS, tools=[tool], stream=stream))
    assert response.status_code == 200 and "x-translation-warnings" not in response.headers
    if stream:
        events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]
        assert events[-1] == {"type": "message_stop"}
        [block] = [e["content_block"] for e in events if e.get("content_block", {}).get("type") == "tool_use"]
        holder = next(event["delta"] for event in events if event["type"] == "message_delta")
    else:
        holder = response.json()
        [block] = [block for block in holder["content"] if block["type"] == "tool_use"]
    assert holder["stop_reason"] == "tool_use"
    [result] = holder["safeguard_results"]
    assert (result["type"], result["status"]["type"]) == ("dangerous_tool_use", "available")
    assert list(result["status"]["tool_uses"]) == [block["id"]]
    return result["status"]["tool_uses"][block["id"]], stack.record(response)
