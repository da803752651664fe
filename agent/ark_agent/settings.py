"""The worker's settings."""

from __future__ import annotations

import socket
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict

from ark_process.settings import ProgramSettings
from ark_taskqueue import DEFAULT_GROUP, InvalidAddress, InvalidQueueName, QueueKeys, parse_address


def _address(url: str) -> str:
    try:
        parse_address(url)
    except InvalidAddress as error:
        raise ValueError(str(error)) from None
    return url


def queue_of(name: str, group: str = DEFAULT_GROUP) -> QueueKeys:
    """Answer the queue that a worker's settings name: ``<namespace>/<agent>``, or ``stream:<key>``.

    Raises:
        InvalidQueueName: it is neither.
    """
    stream = name.removeprefix("stream:")
    return QueueKeys.for_queue(name, group) if stream == name else QueueKeys.for_stream(stream, group)


def _queue(name: str) -> str:
    try:
        queue_of(name)
    except InvalidQueueName as error:
        raise ValueError(str(error)) from None
    return name


class AgentSettings(ProgramSettings):
    """Worker of an agent's task queue."""

    model_config = SettingsConfigDict(cli_prog_name="ark-agent", env_prefix="AGENT_")

    redis: Annotated[str, AfterValidator(_address)] = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis URL; schemes: redis, rediss, unix, redis+sentinel, redis+cluster and so on",
        json_schema_extra={"secret": True},
    )
    queue: Annotated[str, AfterValidator(_queue)] = Field(
        description="Queue to take tasks from: <namespace>/<agent>, or stream:<key> for one of another name"
    )
    group: str = Field(DEFAULT_GROUP, min_length=1, description="Consumer group of the queue's workers")
    name: str = Field(
        default_factory=socket.gethostname,
        min_length=1,
        description="Name of this worker, unlike any other's of the queue; the host's name, in a pod the pod's",
    )
    provider: Literal["echo"] = Field("echo", description="What answers the tasks; echo needs no network")
    max_concurrent_tasks: int = Field(5, ge=1, le=1000, description="Tasks that are worked on at a time")
    timeout_seconds: float = Field(120, gt=0, description="The most that one attempt may take; a failure after that")
    max_retries: int = Field(3, ge=1, description="Failures after which a task becomes a dead letter")
    lease_seconds: float = Field(
        60,
        ge=0.2,
        description="A task whose worker is silent for so long goes to another; the same for all of a queue's workers",
    )
    result_seconds: float = Field(3600, gt=0, description="How long results are kept")
    grace_seconds: float = Field(
        25,
        ge=0,
        description="How long running tasks may take to end after SIGTERM, before they are given back; at least 15 s "
        "less than the pod's terminationGracePeriodSeconds, for the rest of the end while Redis is slow",
    )
