"""A provider that quotes the prompt or the key in its errors: neither leaves by the side (contract C9).

The dead letter has the provider's words, since it has the prompt anyway; it has no key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ark_taskqueue import Client, DeadLetters, Producer, QueueKeys
from hack.local.process import ChildProcess, free_port
from hack.local.redis_server import RedisServer
from tests.agent.llm_server import Answer, serving
from tests.agent.test_program import agent, get, result_of
from tests.eventually import eventually

PROMPT, KEY, PASSWORD = "planted-prompt", "sk-planted-key", "planted-password"
QUOTING = {"error": {"message": f"key {KEY} may not ask {PROMPT!r}", "type": "invalid_request_error", "code": PROMPT}}

HANDLER = f"""
import logging
import ark_agent


async def handle(context: ark_agent.Context) -> str:
    prompt, key = context.task.prompt, "{KEY}"
    try:
        raise RuntimeError("no luck")
    except RuntimeError:
        logging.exception("a library's own words")
    raise ValueError(f"cannot do {{prompt}} with {{key}}")


ark_agent.run(handle)
"""
RAISES = {
    "a subclass of NotNow": "class Later(ark_agent.NotNow): pass",
    "NotNow": "Later = ark_agent.NotNow",
    "ProviderError": "Later = ark_agent.ProviderError",
    "an error of the queue": "from ark_taskqueue import QueueKeys\nLater = QueueKeys.for_queue",
}
RAISING = """
import ark_agent
{made}


async def handle(context: ark_agent.Context) -> str:
    raise Later(f"cannot do {{context.task.prompt}}")


ark_agent.run(handle)
"""


def searched(process: ChildProcess, *further: str) -> None:
    for text in (process.output(), *further):
        for planted in (PROMPT, KEY, PASSWORD):
            assert planted not in text, text


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize("status", [400, 401, 403, 413, 429, 500])
async def test_what_a_provider_quotes_is_in_the_dead_letter_alone(
    redis_server: RedisServer,
    client: Client,
    queue: QueueKeys,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    style: str,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    port = free_port()
    async with serving() as llm:
        llm.will("/v1/chat/completions", Answer(QUOTING, status, {"Retry-After": "3600"}))
        settings: dict[str, Any] = {"provider": "openai", "model": "m", "base_url": f"{llm.url}/v1", "max_retries": 1}
        flags: dict[str, Any] = {"log_level": "debug", "log_format": style, "http_port": port}
        with agent(folder, redis_server, "one", **settings, **flags) as process:
            submission = await Producer(client, queue).submit(PROMPT)
            await eventually(lambda: bool(llm.requests), "the call")

            async def told() -> bool:
                try:
                    ready = await get(port, "/readyz")
                except aiohttp.ClientError:
                    return False
                dead = await DeadLetters(client, queue).list()
                if dead:
                    assert PROMPT in dead[0].error, "nobody could tell why"
                    assert KEY not in dead[0].error
                return bool(dead) or f"openai answered {status}" in ready[1] or "task refused" in process.output()

            await eventually(told, "what became of the task")
            _, ready = await get(port, "/readyz")
            _, metrics = await get(port, "/metrics")
            searched(process, ready, metrics)
            assert f"openai answered {status}" in process.output()
        searched(process)
    assert submission.task_id


@pytest.mark.parametrize("style", ["json", "text"])
async def test_what_a_handler_raises_is_logged_by_its_kind(
    redis_server: RedisServer,
    client: Client,
    queue: QueueKeys,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    style: str,
) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    script = folder / "handler.py"
    script.write_text(HANDLER)
    with agent(folder, redis_server, "one", program=(str(script),), max_retries=1, log_format=style) as process:
        result = await result_of(client, queue, (await Producer(client, queue).submit(PROMPT)).task_id)
        assert result.error == f"ValueError: cannot do {PROMPT} with [hidden]"
        await eventually(lambda: "task failed" in process.output(), "the log")
        assert "ValueError" in process.output()
        assert "no luck" in process.output()
        searched(process)


async def test_texts_are_logged_only_where_somebody_asks_for_them(
    redis_server: RedisServer, client: Client, queue: QueueKeys, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    script = folder / "handler.py"
    script.write_text(HANDLER)
    with agent(folder, redis_server, "one", program=(str(script),), max_retries=1, log_error_texts=None) as process:
        await result_of(client, queue, (await Producer(client, queue).submit(PROMPT)).task_id)
        await eventually(lambda: PROMPT in process.output(), "the whole text")
        assert KEY not in process.output()


@pytest.mark.parametrize("raised", RAISES)
async def test_what_a_handler_says_with_our_own_errors_is_its_own_text(
    redis_server: RedisServer, client: Client, queue: QueueKeys, folder: Path, raised: str
) -> None:
    script = folder / "handler.py"
    script.write_text(RAISING.format(made=RAISES[raised]))
    with agent(folder, redis_server, "one", program=(str(script),), max_retries=1, log_level="debug") as process:
        await Producer(client, queue).submit(PROMPT)
        await eventually(lambda: "task failed" in process.output() or "task refused" in process.output(), "the log")
        searched(process)
