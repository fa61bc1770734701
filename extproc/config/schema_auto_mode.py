"""The keys of `auto_mode` in `gateway.yaml`."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from extproc.config.schema_tls import STRICT

_LONGEST_SOCKET = 100
"""Kernels take little more."""


class Rule(BaseModel):
    """Decides the calls of tools for which `when` holds."""

    model_config = STRICT

    when: str
    """CEL over `tool.name`, `tool.input`, `cwd`, `model`, `jwt` and the other claims of the caller."""
    outcome: Literal["allow", "deny"]
    """What is said of the call."""
    explanation: str | None = Field(None, min_length=1, max_length=500)
    """What the developer and the model read of a denial."""

    @model_validator(mode="after")
    def _only_of_denials(self) -> "Rule":
        if self.explanation is not None and self.outcome != "deny":
            raise ValueError("explanation: only for `outcome: deny`")
        return self


class Judge(BaseModel):
    """A model that is asked about calls that no rule decides."""

    model_config = STRICT

    model: str = Field(min_length=1)
    """A name that callers may ask for: it is asked in their name, through the gateway."""
    timeout: float = Field(10, gt=0, le=300)
    """Seconds for which the end of an answer waits."""
    instructions: str = Field("", max_length=20_000)
    """What the company wants to have allowed and denied, in words for the model."""
    socket: Path | None = None
    """The Unix socket on which Envoy accepts the gateway's own calls. Absent: `gateway.sock` beside Envoy's files."""

    @field_validator("socket")
    @classmethod
    def _absolute(cls, socket: Path | None) -> Path | None:
        if socket is not None and (not socket.is_absolute() or len(str(socket)) > _LONGEST_SOCKET):
            raise ValueError(f"expected an absolute path of at most {_LONGEST_SOCKET} characters")
        return socket


class AutoMode(BaseModel):
    """Verdicts on the calls of tools for clients that ask for them, as Claude Code does in auto mode."""

    model_config = STRICT

    rules: list[Rule] = []
    """The first one that holds decides."""
    judge: Judge | None = None
    """The model that judges what no rule decides; absent: none."""
    otherwise: Literal["unavailable", "deny"] = "unavailable"
    """What is said of a call that neither a rule nor the judge has decided."""

    @model_validator(mode="after")
    def _somebody_decides(self) -> "AutoMode":
        if not self.rules and self.judge is None:
            raise ValueError("auto_mode needs rules, a judge, or both")
        return self
