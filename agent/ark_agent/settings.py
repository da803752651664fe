"""The worker's settings; their variables are those that the arkonis operator gives its agents, and more like them."""

from __future__ import annotations

import os
import socket
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from ark_agent.providers import ProviderOptions
from ark_api import variables
from ark_api.trigger import DEFAULT_TOKENS_PER_CALL
from ark_process.settings import ProgramSettings, checked_with
from ark_taskqueue import DEFAULT_GROUP, InvalidAddress, InvalidQueueName, QueueKeys, parse_address

_ARKONIS_URL = "TASK_QUEUE_URL"
_ARKONIS_QUEUE = "stream:agent-tasks"
"""What arkonis' agents all take their tasks from."""


def _of_arkonis() -> dict[str, str]:
    """Return what arkonis' variables of other names say: TASK_QUEUE_URL, a URL or ``host:port``, and POD_NAME."""
    said: dict[str, str] = {}
    url, name = os.environ.get(_ARKONIS_URL), os.environ.get("POD_NAME")
    if url:
        said |= {"redis": url if "://" in url else f"redis://{url}", "queue": _ARKONIS_QUEUE}
    return {**said, "name": name} if name else said


def _check_address(url: str) -> None:
    try:
        parse_address(url)
    except InvalidAddress as error:
        raise ValueError(str(error)) from None


def queue_of(name: str, group: str = DEFAULT_GROUP) -> QueueKeys:
    """Return the queue that a worker's settings name: ``<namespace>/<agent>``, or ``stream:<key>``.

    Raises:
        InvalidQueueName: it is neither.
    """
    stream = name.removeprefix(variables.STREAM_PREFIX)
    return QueueKeys.for_queue(name, group) if stream == name else QueueKeys.for_stream(stream, group)


def _queue(name: str) -> str:
    try:
        queue_of(name)
    except InvalidQueueName as error:
        raise ValueError(str(error)) from None
    return name


class AgentSettings(ProgramSettings):
    """Worker of an agent's task queue."""

    model_config = SettingsConfigDict(cli_prog_name="ark-agent", env_prefix=variables.PREFIX, env_ignore_empty=True)

    redis: Annotated[SecretStr, checked_with(_check_address)] = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis URL; schemes: redis, rediss, unix, redis+sentinel, redis+cluster and so on; without it "
        f"{_ARKONIS_URL}, a URL or host:port",
    )
    queue: Annotated[str, AfterValidator(_queue)] = Field(
        description="Queue to take tasks from: <namespace>/<agent>, or stream:<key> for any other stream; default if "
        f"{_ARKONIS_URL} is set: {_ARKONIS_QUEUE}",
    )
    group: str = Field(DEFAULT_GROUP, min_length=1, description="Consumer group of the queue's workers")
    name: str = Field(
        default_factory=socket.gethostname,
        min_length=1,
        description="Name of this worker, unique within its queue; default: POD_NAME, or the host name",
    )
    provider: Literal["auto", "anthropic", "openai", "echo"] = Field(
        "auto",
        description="LLM provider; auto infers it from the model's name, openai is any server that speaks its "
        "API, echo needs no network. Keys: ANTHROPIC_API_KEY, OPENAI_API_KEY",
    )
    model: str = Field("echo", description="Model that is asked")
    system_prompt: str = Field("", description="What the model is told before every task")
    base_url: SecretStr | None = Field(
        None,
        min_length=1,
        description="Base URL of the provider's API; None: its own, or ANTHROPIC_BASE_URL, OPENAI_BASE_URL",
    )
    max_tokens: int = Field(
        DEFAULT_TOKENS_PER_CALL, ge=1, description="Tokens that one LLM call may cost, input and output together"
    )
    max_output_tokens: int = Field(
        0,
        ge=0,
        description="The most that the LLM may write in a call, for models that take no more; 0: what the input leaves",
    )
    daily_token_limit: int = Field(
        0, ge=0, le=2**53, description="Tokens that all workers of the queue may cost in any 24 hours; 0: no limit"
    )
    bytes_per_token: float = Field(
        2.0,
        ge=1,
        le=8,
        description="Bytes per token assumed where the provider cannot count the input; 1 never underestimates, prose "
        "has about 4",
    )
    output_limit_field: Literal["auto", "max_tokens", "max_completion_tokens"] = Field(
        "auto",
        description="Field that limits the output for provider openai; auto: max_completion_tokens for OpenAI itself, "
        "max_tokens for other servers",
    )
    max_concurrent_tasks: int = Field(5, ge=1, le=1000, description="Tasks that are worked on at a time")
    lower_priority_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Share of the worker's slots that tasks of lower priority have while tasks of higher priority "
        "wait; 0: none",
    )
    timeout_seconds: float = Field(
        120, gt=0, le=86_400, description="The most that one attempt may take; a failure after that"
    )
    max_retries: int = Field(3, ge=1, description="Failures after which a task becomes a dead letter")
    lease_seconds: float = Field(
        60,
        ge=0.2,
        le=86_400,
        description="A task whose worker is silent this long goes to another; use one value for all workers of a queue",
    )
    result_seconds: float = Field(3600, gt=0, le=31_536_000, description="How long results are kept")
    dead_letters_kept: int = Field(
        10_000, ge=0, description="How many dead letters the queue keeps; the oldest go first. The same for all workers"
    )
    dead_letter_seconds: float = Field(
        2_592_000, gt=0, description="How long a dead letter, with the prompt in it, is kept; 30 days by default"
    )
    demand_record_seconds: float = Field(
        86_400,
        ge=0,
        le=2_592_000,
        description="How long the queue's demand is kept on record, in spans of ten seconds; 0 for no record. The same "
        "for all workers",
    )
    log_error_texts: bool = Field(
        False,
        description="Whether logs have the full text of a task's error, which may quote prompts and answers; the dead "
        "letter has it anyway",
    )
    grace_seconds: float = Field(
        25,
        ge=0,
        le=86_400,
        description="How long running tasks may take to end after SIGTERM, before they are given back; the process "
        "ends 5 s later at the latest. Keep it at least 15 s below the Pod's terminationGracePeriodSeconds, to leave "
        "time to shut down while Redis is slow",
    )
    mcp_servers: str = Field("", description="MCP tool servers, as arkonis gives them; not acted on")
    webhook_tools: str = Field("", description="HTTP tools, as arkonis gives them; not acted on")
    host: str = Field("", description="Address that the HTTP server listens on; empty: all of them, IPv4 and IPv6")
    http_port: int = Field(
        8080, ge=0, le=65535, description="TCP port of /metrics, /healthz and /readyz; 0 takes a free one"
    )

    tracing: bool = Field(
        False,
        description="Send spans of tasks and LLM calls by OTLP to where OpenTelemetry's variables say "
        "(OTEL_EXPORTER_OTLP_ENDPOINT); needs the extra 'otel'",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - there are no files
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what arkonis' variables say where nothing else says it."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, _of_arkonis())

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if 0 < self.daily_token_limit < self.max_tokens:
            raise ValueError(
                f"--daily-token-limit (AGENT_DAILY_TOKEN_LIMIT) is {self.daily_token_limit}, less than one call may "
                f"cost, --max-tokens (AGENT_MAX_TOKENS) {self.max_tokens}: no call would ever be made"
            )
        return self

    @property
    def provider_options(self) -> ProviderOptions:
        """What the settings say about the provider."""
        return ProviderOptions(
            name=self.provider,
            model=self.model,
            base_url=None if self.base_url is None else self.base_url.get_secret_value(),
            bytes_per_token=self.bytes_per_token,
            output_limit_field=self.output_limit_field,
            timeout_seconds=self.timeout_seconds,
        )

    @property
    def ignored(self) -> list[str]:
        """Variables that are set and not acted on."""
        given = {variables.MCP_SERVERS: self.mcp_servers, variables.WEBHOOK_TOOLS: self.webhook_tools}
        return [name for name, value in given.items() if value.strip() not in ("", "[]", "null")]
