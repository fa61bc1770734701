"""What the system prompt says where a model cannot be made to call a tool (mapping 1.9)."""

CALL_ONE = "Call at least one of the tools in your next message."
CALL_THIS = "Call the tool `{}` in your next message."
