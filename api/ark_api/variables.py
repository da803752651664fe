"""The worker's environment variables: the operator sets them, the worker's settings read them."""

from __future__ import annotations

PREFIX = "AGENT_"
"""Each setting of the worker is a variable with this before its name."""

NAME = "AGENT_NAME"
REDIS = "AGENT_REDIS"
QUEUE = "AGENT_QUEUE"
"""``<namespace>/<agent>``, or `STREAM_PREFIX` and a stream's key."""
STREAM_PREFIX = "stream:"
GROUP = "AGENT_GROUP"
MODEL = "AGENT_MODEL"
SYSTEM_PROMPT = "AGENT_SYSTEM_PROMPT"
MAX_TOKENS = "AGENT_MAX_TOKENS"
DAILY_TOKEN_LIMIT = "AGENT_DAILY_TOKEN_LIMIT"  # noqa: S105 - no password
MAX_CONCURRENT_TASKS = "AGENT_MAX_CONCURRENT_TASKS"
TIMEOUT_SECONDS = "AGENT_TIMEOUT_SECONDS"
MAX_RETRIES = "AGENT_MAX_RETRIES"
GRACE_SECONDS = "AGENT_GRACE_SECONDS"
MCP_SERVERS = "AGENT_MCP_SERVERS"
WEBHOOK_TOOLS = "AGENT_WEBHOOK_TOOLS"

FIXED = frozenset({DAILY_TOKEN_LIMIT, GROUP, MAX_CONCURRENT_TASKS, MAX_RETRIES, MAX_TOKENS, QUEUE, TIMEOUT_SECONDS})
"""What ``spec.limits`` and ``spec.queue`` say: a limit is one only where no template can set another."""
