"""The keys of Claude Code's managed settings and the types of their values, as 2.1.332 reads them.

A document that the client cannot read stops every start of every client, so the types are checked before it is served.
Keys come with nearly every version: one that is not here is no mistake, but worth a warning.
https://code.claude.com/docs/en/settings
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from extproc.config.faults import Fault, Where
from extproc.config.hints import meant

MAX_INTEGER = 2**53


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TEXTS = _names(
    """
    $schema advisorModel agent apiKeyHelper attributionProject autoMemoryDirectory awsAuthRefresh awsCredentialExport
    claudeMd desktopMcpServersListScope downloadsMirrorUrl forceLoginGatewayUrl gcpAuthRefresh language
    minimumVersion model otelHeadersHelper outputStyle plansDirectory pluginTrustMessage prUrlTemplate processWrapper
    proxyAuthHelper requiredMaximumVersion requiredMinimumVersion theme timeFormat timeZone
    """
)
_FLAGS = _names(
    """
    agentPushNotifEnabled allowAllClaudeAiMcps allowClaudeInChromeWithManagedMcp allowManagedHooksOnly
    allowManagedMcpServersOnly allowManagedPermissionRulesOnly alwaysThinkingEnabled autoCompactEnabled
    autoContinueAtUsageLimit autoDreamEnabled autoMemoryEnabled autoScrollEnabled autoUploadSessions
    bashEditDiffEnabled channelsEnabled disableAgentView disableAllHooks disableArtifact disableBundledSkills
    disableClaudeAiConnectors disableCommandPluginSources disableDirectMcpSkills disableRemoteControl
    disableSideloadFlags disableSkillShellExecution disableWorkflows emojiCompletionEnabled enableAllProjectMcpServers
    enableArtifact enableWorkflows enforceAvailableModels fastMode fastModePerSessionOptIn fileCheckpointingEnabled
    forceRemoteSettingsRefresh idleCompaction includeCoAuthoredBy includeGitInstructions inputNeededNotifEnabled
    isolatePeerMachines precomputeCompactionEnabled prefersReducedMotion promptSuggestionEnabled
    remoteControlAtStartup respectGitignore respondToBashCommands showClearContextOnPlanAccept showMessageTimestamps
    showThinkingSummaries showTurnDuration skipDangerousModePermissionPrompt skipWebFetchPreflight spinnerTipsEnabled
    switchModelsOnFlag syncClaudeAiPlugins syncClaudeAiSkills syntaxHighlightingDisabled terminalProgressBarEnabled
    terminalTitleFromRename todoFeatureEnabled ultracode verbose wheelScrollAccelerationEnabled
    wslInheritsWindowsSettings
    """
)
_NUMBERS = _names(
    """
    autoCompactWindow bashOutputMaxChars cleanupPeriodDays desktopSessionCleanupPeriodDays feedbackSurveyRate
    maxProseWidth skillListingBudgetFraction skillListingMaxDescChars
    """
)
_LISTS_OF_TEXTS = _names(
    """
    allowedHttpHookUrls allowedProviders appendPlugins availableModels claudeMdExcludes companyAnnouncements
    deniedModels disabledMcpjsonServers enabledMcpjsonServers fallbackModel gatewayInternalNetworks
    httpHookAllowedEnvVars pluginSuggestionMarketplaces prependPlugins
    """
)
_LISTS = _names(
    """
    allowedChannelPlugins allowedMarketplaces allowedMcpServers blockedMarketplaces deniedMcpServers
    footerLinksRegexes sshConfigs sshHostCommands strictKnownMarketplaces
    """
)
_OBJECTS = _names(
    """
    additionalMarketplaces attribution attributionProjectPolicy autoMode breakReminder enabledPlugins env
    extraKnownMarketplaces fileSuggestion hooks managedMcpServers modelOverrides modelPicker modelPricing
    modelSettings permissions pluginConfigs policyHelpers quietHours remote remoteControl remoteTools sandbox
    skillOverrides spellcheck spinnerTipsOverride spinnerVerbs statusLine subagentStatusLine vimInsertModeRemaps voice
    worktree
    """
)
_CHOICES = {
    "askUserQuestionTimeout": ("60s", "5m", "10m", "never"),
    "autoUpdatesChannel": ("latest", "stable", "rc"),
    "availableModelsMatch": ("prefix", "exact"),
    "defaultShell": ("bash", "powershell"),
    "dialogExpiry": ("60s", "5m", "10m", "never"),
    "disableAutoMode": ("disable",),
    "effortLevel": ("low", "medium", "high", "xhigh"),
    "forceLoginMethod": ("claudeai", "console", "gateway"),
    "managedSourcesBehavior": ("first-wins", "merge"),
    "parentSettingsBehavior": ("first-wins", "merge"),
    "tui": ("default", "fullscreen"),
    "viewMode": ("default", "verbose", "focus"),
}
# Known, with values of several types or with names that this table does not follow.
_ANY = _names(
    """
    crossSessionInbound daemonColdStart editorMode feedbackDrafts forceLoginOrgUUID maxEffortLevel
    preferredNotifChannel promptCacheTtl strictPluginOnlyCustomization subagentPromptCacheTtl teammateMode
    workflowSizeGuideline
    """
)
KNOWN = frozenset().union(
    _TEXTS, _FLAGS, _NUMBERS, _LISTS_OF_TEXTS, _LISTS, _OBJECTS, _CHOICES, _ANY
)  # fmt: skip
_PERMISSIONS: dict[str, tuple[str, ...] | None] = {
    "allow": None,
    "deny": None,
    "ask": None,
    "additionalDirectories": None,
    "defaultMode": ("default", "manual", "acceptEdits", "plan", "auto", "dontAsk", "bypassPermissions"),
    "disableBypassPermissionsMode": ("disable",),
    "disableAutoMode": ("disable",),
}
"""None: a list of texts."""
_REFUSED = {
    "mcpServers": "Claude Code does not take it from managed settings; use managedMcpServers",
    "policyHelper": "Claude Code takes it from files of the machine only",
}


class Unknown(NamedTuple):
    """A key that the table does not have."""

    where: Where
    problem: str


def check(settings: dict[str, Any], where: Where) -> Iterator[Fault | Unknown]:
    """What is wrong with one document. `where`: its place in `gateway.yaml`."""
    for name, value in settings.items():
        here = (*where, name)
        if name in _REFUSED:
            yield Fault(here, _REFUSED[name])
        elif (problem := _not_json(value)) or (problem := _wrong_type(name, value)):
            yield Fault(here, problem)
        elif name == "env":
            yield from _check_env(value, here)
        elif name == "permissions":
            yield from _check_permissions(value, here)
        elif name not in KNOWN:
            yield Unknown(here, f"is no setting that Claude Code 2.1.332 knows{meant(name, KNOWN)}")


def _wrong_type(name: str, value: Any) -> str:
    if choices := _CHOICES.get(name):
        return "" if value in choices else f"expected {_one_of(choices)}"
    for names, fits, wanted in _TYPES:
        if name in names and not fits(value):
            return f"expected {wanted}"
    return ""


def _one_of(choices: tuple[str, ...]) -> str:
    return " or ".join(f"`{choice}`" for choice in choices)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_TYPES: tuple[tuple[frozenset[str], Callable[[Any], bool], str], ...] = (
    (_TEXTS, lambda value: isinstance(value, str), "a text"),
    (_FLAGS, lambda value: isinstance(value, bool), "true or false"),
    (_NUMBERS, _is_number, "a number"),
    (_LISTS_OF_TEXTS, _are_texts, "a list of texts"),
    (_LISTS, lambda value: isinstance(value, list), "a list"),
    (_OBJECTS, lambda value: isinstance(value, dict), "a mapping"),
)


def _check_env(env: dict[str, Any], where: Where) -> Iterator[Fault]:
    for name, value in env.items():
        if not isinstance(value, str) and (isinstance(value, bool) or not isinstance(value, int)):
            yield Fault((*where, name), 'expected a text; put it in quotes, as in "1"')


def _check_permissions(permissions: dict[str, Any], where: Where) -> Iterator[Fault]:
    for name, value in permissions.items():
        choices = _PERMISSIONS.get(name)
        if choices is not None and value not in choices:
            yield Fault((*where, name), f"expected {_one_of(choices)}")
        elif choices is None and name in _PERMISSIONS and not _are_texts(value):
            yield Fault((*where, name), "expected a list of texts")


def _not_json(value: Any) -> str:
    """Why JSON cannot hold a value of YAML; empty where it can."""
    match value:
        case None | bool() | str():
            return ""
        case int() if abs(value) <= MAX_INTEGER:
            return ""
        case float() if math.isfinite(value):
            return ""
        case list():
            return next((problem for item in value if (problem := _not_json(item))), "")
        case dict():
            return next((problem for item in value.values() if (problem := _not_json(item))), "")
        case _:
            return "holds a value that JSON does not have, such as a date; put it in quotes"
