"""The worker's settings: arkonis' variables, and what is said about values that cannot be."""

from __future__ import annotations

import pytest

from ark_agent.settings import AgentSettings
from ark_process.settings import load


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("AGENT_") or name in ("TASK_QUEUE_URL", "POD_NAME"):
            monkeypatch.delenv(name)


def test_arkonis_environment_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "AGENT_MODEL": "claude-sonnet-4-5",
        "AGENT_PROVIDER": "anthropic",
        "AGENT_SYSTEM_PROMPT": "Be brief.",
        "AGENT_MAX_TOKENS": "4000",
        "AGENT_MAX_CONCURRENT_TASKS": "7",
        "AGENT_TIMEOUT_SECONDS": "90",
        "AGENT_DAILY_TOKEN_LIMIT": "100000",
        "AGENT_MAX_RETRIES": "4",
        "AGENT_MCP_SERVERS": "[]",
        "AGENT_WEBHOOK_TOOLS": '[{"name": "search", "url": "http://search"}]',
        "TASK_QUEUE_URL": "redis.arkonis:6379",
        "POD_NAME": "writer-1",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    config = load(AgentSettings, [])
    assert (config.redis.get_secret_value(), config.queue, config.name) == (
        "redis://redis.arkonis:6379",
        "stream:agent-tasks",
        "writer-1",
    )
    assert (config.model, config.provider, config.system_prompt) == ("claude-sonnet-4-5", "anthropic", "Be brief.")
    assert (config.max_tokens, config.daily_token_limit, config.max_retries) == (4000, 100_000, 4)
    assert (config.max_concurrent_tasks, config.timeout_seconds) == (7, 90)
    assert config.ignored == ["AGENT_WEBHOOK_TOOLS"]


def test_the_operators_own_variables_win(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"TASK_QUEUE_URL": "redis://a:1", "AGENT_REDIS": "redis://b:2", "AGENT_QUEUE": "shop/writer"}
    for name, value in {**given, "POD_NAME": "p", "AGENT_NAME": "n"}.items():
        monkeypatch.setenv(name, value)
    config = load(AgentSettings, [])
    assert (config.redis.get_secret_value(), config.queue, config.name) == ("redis://b:2", "shop/writer", "n")


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        ([], {}, "--queue (AGENT_QUEUE) is missing: Queue to take tasks from: <namespace>/<agent>, or stream:<key>"),
        (["--queue=Bad Name"], {}, "--queue (AGENT_QUEUE) is 'Bad Name'"),
        (["--queue=a/b"], {"TASK_QUEUE_URL": "http://a"}, "--redis (AGENT_REDIS)"),
        (["--queue=a/b", "--provider=gemini"], {}, "--provider (AGENT_PROVIDER) is 'gemini'"),
        (["--queue=a/b", "--daily-token-limit=-1"], {}, "--daily-token-limit (AGENT_DAILY_TOKEN_LIMIT) is '-1'"),
        (["--queue=a/b", "--daily-token-limit=7999"], {}, "less than one call may cost, --max-tokens"),
        (["--queue=a/b"], {"AGENT_MAX_TOKENS": "many"}, "--max-tokens (AGENT_MAX_TOKENS) is 'many'"),
        (["--queue=a/b", "--timeout-seconds=inf"], {}, "--timeout-seconds (AGENT_TIMEOUT_SECONDS) is 'inf'"),
        (["--queue=a/b", "--max-tokens=0"], {}, "--max-tokens (AGENT_MAX_TOKENS) is '0'"),
    ],
)
def test_a_bad_value_is_one_line_that_names_it(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    variables: dict[str, str],
    said: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        load(AgentSettings, arguments)
    assert caught.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("ark-agent: ")
    assert said in line


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AGENT_DAILY_TOKEN_LIMIT", "AGENT_BASE_URL", "AGENT_PROVIDER", "TASK_QUEUE_URL"):
        monkeypatch.setenv(name, "")
    config = load(AgentSettings, ["--queue=a/b"])
    assert (config.daily_token_limit, config.base_url, config.provider) == (0, None, "auto")


def test_a_password_is_not_repeated(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASK_QUEUE_URL", "http://user:secret@redis")
    with pytest.raises(SystemExit):
        load(AgentSettings, ["--queue=a/b"])
    assert "secret" not in capsys.readouterr().err
