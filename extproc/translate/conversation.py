"""A request in the vocabulary that all dialects share.

The client's dialect reads its body into a `Conversation`; the provider's dialect writes it. Every part carries the path
that it had in the client's body, so that a warning or a 400 names what the client sent. All values are immutable: one
conversation may be written several times. They hold no cycles, so the collector need not watch them.
"""

from collections.abc import Collection
from typing import Any, Generic, Literal, TypeVar, get_args

import msgspec

T = TypeVar("T")
Json = dict[str, Any]

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
LEVELS: tuple[str, ...] = get_args(Effort)
"""The levels of effort, from the least to the most."""
Loss = Literal["drop", "warn", "reject"]
"""What becomes of a member that the other side has no place for: nothing is said, a warning, or a 400."""


class Setting(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """One choice of the client's, and where in the body it stands."""

    value: T
    path: str


# Content


# Anthropic's marks live for 5 minutes or an hour
# (https://platform.claude.com/docs/en/build-with-claude/prompt-caching), OpenAI's for as long as the model's default or
# for 12 hours (https://platform.openai.com/docs/guides/prompt-caching).
class CacheHint(msgspec.Struct, frozen=True, gc=False):
    """The client asks that the prompt be cached up to here."""

    long: bool = False
    """Cached for hours rather than minutes."""
    openai: bool = False
    """It is a breakpoint of OpenAI's own."""


class Base64Data(msgspec.Struct, frozen=True, gc=False):
    media_type: str
    """In lower case, without parameters."""
    data: str


class PlainText(msgspec.Struct, frozen=True, gc=False):
    text: str


class WebAddress(msgspec.Struct, frozen=True, gc=False):
    """An http or https URL; nothing is fetched here."""

    url: str


class FileId(msgspec.Struct, frozen=True, gc=False):
    """A file that is stored at the client's own vendor."""

    id: str


class Text(msgspec.Struct, frozen=True, gc=False):
    text: str
    path: str
    cache: CacheHint | None = None


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """The model declined, in an earlier turn."""

    text: str
    path: str


class Image(msgspec.Struct, frozen=True, gc=False):
    source: Base64Data | WebAddress | FileId
    path: str
    """Where the client's body has the image's data or address."""
    detail: str | None = None
    """OpenAI: low, high, auto."""
    cache: CacheHint | None = None


class Document(msgspec.Struct, frozen=True, gc=False):
    source: Base64Data | PlainText | WebAddress | FileId
    path: str
    title: str = ""
    context: str = ""
    """What the client says about the document."""
    cache: CacheHint | None = None
    part_path: str = ""
    """The path of the whole part, which a warning names; empty: the same as `path`."""


class Audio(msgspec.Struct, frozen=True, gc=False):
    data: str
    """Base64."""
    format: str
    path: str


ANTHROPIC, OPENAI_RESPONSES = "anthropic", "openai_responses"
"""Carriers of reasoning that is no member of a Chat message: who made it, and in which form (docs/mapping.md 0.3)."""


# Anthropic signs it, OpenAI encrypts it, Gemini signs calls with it; most others send text and want it back or not
# (docs/mapping.md 2.4).
class Reasoning(msgspec.Struct, frozen=True, gc=False):
    """Earlier reasoning that the client sends back. Only the vendor that made it can use `data`."""

    carrier: str
    """ANTHROPIC, OPENAI_RESPONSES, or the member of a Chat message."""
    text: str
    data: Any
    """What the vendor wants back besides the text, such as a signature; opaque to everybody else."""
    path: str
    is_ours: bool = False
    """It came through a Messages client in an envelope of ours, so that an OpenAI-type provider made it."""

    def is_opaque_to(self, carriers: Collection[str]) -> bool:
        """Whether a provider that knows these carriers can use nothing but the text."""
        return bool(self.data) and self.carrier not in carriers


# https://platform.openai.com/docs/guides/function-calling#custom-tools,
# https://platform.openai.com/docs/guides/tools-local-shell
CallKind = Literal["function", "custom", "shell"]
"""`custom`: arguments are free text. `shell`: OpenAI's local shell, which the client runs itself."""


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    id: str
    """As the client knows it."""
    name: str
    arguments: str
    """JSON text, as the client sent it; free text for a custom call."""
    path: str
    """Where the client's body has the arguments."""
    kind: CallKind = "function"


ResultPart = Text | Image | Document


class ToolResult(msgspec.Struct, frozen=True, gc=False):
    call_id: str
    parts: tuple[ResultPart, ...]
    path: str
    """Where the client's body has the content."""
    is_error: bool = False
    kind: CallKind = "function"
    # Responses has a type of output item for each kind of call.
    """The kind of the call that it answers."""
    cache: CacheHint | None = None


class Compaction(msgspec.Struct, frozen=True, gc=False):
    """What stands for the conversation before it."""

    text: str
    """A summary, where there is one that others can read."""
    carrier: str
    data: Any
    """As for reasoning: only the vendor that made it can use it."""
    path: str


UserPart = Text | Image | Document | Audio
AssistantPart = Text | Refusal | Reasoning | ToolCall | Compaction


class SystemTurn(msgspec.Struct, frozen=True, gc=False):
    """Instructions in the midst of the conversation."""

    parts: tuple[Text, ...]
    path: str
    between_calls_and_results: bool = False
    """The client put it between a call and its result; here it stands behind the results."""
    if_moved: Loss = "warn"
    """Where the provider takes instructions only at the beginning of the conversation."""


class UserTurn(msgspec.Struct, frozen=True, gc=False):
    """Results stand before everything else, in the order of the calls that they answer."""

    results: tuple[ToolResult, ...]
    parts: tuple[UserPart, ...]
    path: str


class AssistantTurn(msgspec.Struct, frozen=True, gc=False):
    parts: tuple[AssistantPart, ...]
    path: str

    @property
    def calls(self) -> list[ToolCall]:
        return [part for part in self.parts if isinstance(part, ToolCall)]


Turn = SystemTurn | UserTurn | AssistantTurn


# Tools


class Grammar(msgspec.Struct, frozen=True, gc=False):
    """What a custom tool's free text must follow."""

    syntax: str
    definition: str


class Tool(msgspec.Struct, frozen=True, gc=False):
    """A tool that the client runs."""

    name: str
    """Full: `namespace__name` for a member of a namespace."""
    path: str
    description: str = ""
    parameters: Json | None = None
    """JSON Schema; None where the client declared none."""
    strict: bool | None = None
    kind: CallKind = "function"
    grammar: Grammar | None = None
    cache: CacheHint | None = None
    schema_name: str = "parameters"
    """The client's name of the schema, for the path of a problem with it."""
    written: dict[Any, Any] = msgspec.field(default_factory=dict)
    """What writers have made of it, by whatever else that depends on. Readers remember tools, and this with them."""


class WebSearch(msgspec.Struct, frozen=True, gc=False):
    """The provider searches the web itself."""

    path: str
    type: str
    """The client's word for the tool."""
    allowed_domains: tuple[str, ...] = ()
    location: Json = {}
    """Members of an approximate location: city, country, region, timezone."""
    is_live: bool = True
    """The web is read as it is now, not from what the provider has stored."""
    name: str = ""
    """What the client calls it, if that is another word than the type."""


class McpServer(msgspec.Struct, frozen=True, gc=False):
    """The provider calls an MCP server's tools itself, without asking anybody."""

    path: str
    label: str
    url: str
    authorization: str | None = None
    allowed_tools: tuple[str, ...] | None = None


class HostedTool(msgspec.Struct, frozen=True, gc=False):
    """Any other tool that only the client's own vendor can run."""

    path: str
    type: str
    name: str = ""
    """What the client calls it, if that is another word than the type."""


ServerTool = WebSearch | McpServer | HostedTool
AnyTool = Tool | ServerTool


class ToolChoice(msgspec.Struct, frozen=True, gc=False):
    mode: Literal["auto", "required", "none"]
    path: str
    name: str = ""
    """Full name of the one tool that must be called; then the mode is `required`."""
    hosted: str = ""
    """The client's word for a server tool that must be called: its name or type."""
    allowed: tuple[tuple[str, str], ...] | None = None
    """Only these tools may be called: the full name or a server tool's type, and its path."""


# Everything else


class OutputFormat(msgspec.Struct, frozen=True, gc=False):
    """Structured output. Without a schema: any JSON object."""

    path: str
    schema: Json | None = None
    # OpenAI requires a name of the format, Anthropic has none.
    name: str = "output"
    description: str = ""
    strict: bool | None = None


class Thinking(msgspec.Struct, frozen=True, gc=False):
    """What the client says about reasoning."""

    effort: Setting[str] | None = None
    """A level (levels.LEVELS)."""
    is_explicit: bool = True
    """The level is the client's own word, not derived from something else."""
    budget: int | None = None
    """Tokens, where the client named a number."""
    is_on: bool = False
    """The client wants the model to think, also where it names no level."""
    shown: Literal["no", "hidden", "yes"] = "no"
    """`hidden`: the client carries reasoning back without reading it."""


class Compacting(msgspec.Struct, frozen=True, gc=False):
    """The provider shall compact the conversation itself when it grows long."""

    path: str
    threshold: int | None = None
    """Tokens; None: the provider decides."""


class Unmapped(msgspec.Struct, frozen=True, gc=False):
    """A member of the client's body that only some dialects have a place for."""

    name: str
    value: Any
    path: str
    loss: Loss
    """Where the provider's dialect has no place for it."""
    problem: str = "not supported by the upstream model"
    is_anthropic: bool = False
    """It is a member of Anthropic's that an OpenAI client sent, as the SDK's `extra_body` allows."""


class AnswerShape(msgspec.Struct, frozen=True, gc=False):
    """What the client's dialect needs to know again when it writes the answer."""

    stream: bool
    include_usage: bool = True
    """Chat streams: the client wants the usage chunk."""
    legacy: bool = False
    """Chat: the client knows `function_call`, not `tool_calls`."""
    echo: dict[str, bytes] = {}
    """Responses: members of the request that the answer repeats, as JSON."""
    namespaces: dict[str, tuple[str, str]] = {}
    """Responses and Messages: full name of a tool -> (namespace or toolset, name)."""
    call_prefix: str = "call_"
    """Ids that are made for calls begin with it."""


class Conversation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    model: str
    """As the client named it, or the configuration's pin."""
    turns: tuple[Turn, ...]
    path: str = "messages"
    """The member of the client's body that holds the turns."""
    system: tuple[Text, ...] = ()
    """Instructions that the dialect keeps apart from the conversation."""
    continues_last_turn: bool = False
    """The model shall go on with its own last words (Anthropic's prefill)."""
    tools: tuple[AnyTool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: Setting[bool] | None = None
    output_format: OutputFormat | None = None
    thinking: Thinking = Thinking()
    max_tokens: Setting[int] | None = None
    stop: Setting[tuple[str, ...]] | None = None
    temperature: Setting[float] | None = None
    top_p: Setting[float] | None = None
    top_k: Setting[int] | None = None
    user: Setting[str] | None = None
    """The person or program that calls, for the provider's abuse checks."""
    service_tier: Setting[str] | None = None
    """OpenAI's words."""
    verbosity: Setting[str] | None = None
    logprobs: Setting[int] | None = None
    """The answer shall name this many alternatives for each token; 0: the token alone."""
    metadata: Setting[Json] | None = None
    prompt_cache: Json = {}
    """OpenAI's hints for its prompt cache, by their names."""
    session: str = ""
    """Names the client's session, so that a provider can keep it where its prefix is cached."""
    compaction: tuple[Compacting, ...] = ()
    unmapped: tuple[Unmapped, ...] = ()
    without_search: str = ""
    """All that the client wants is a search of the web, and this is its answer where the provider has none."""
    shape: AnswerShape

    @property
    def client_tools(self) -> list[Tool]:
        """Those that the client runs."""
        return [tool for tool in self.tools if isinstance(tool, Tool)]
