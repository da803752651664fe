"""The scaler as a program: help, settings, ports, its HTTP endpoint."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from ark_process import settings
from ark_scaler.settings import ScalerSettings
from ark_taskqueue import Client, Consumer, QueueKeys
from hack.local.redis_server import RedisServer
from tests.scaler.keda import add_task, scaler_and_keda


def ark_scaler(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``ark-scaler`` to its end."""
    program = Path(sys.executable).parent / "ark-scaler"
    return subprocess.run(
        [str(program), *flags],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": "80", **environment},
    )


def test_help_explains_every_setting_with_its_flag_and_its_variable() -> None:
    shown = ark_scaler("--help")
    assert shown.returncode == 0
    assert max(len(line) for line in shown.stdout.splitlines()) <= 80
    for name, field in ScalerSettings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in shown.stdout
        assert f"ARK_SCALER_{name.upper()}" in shown.stdout
        assert field.description, f"{name} has no description"


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        (["--port=70000"], {}, "--port (ARK_SCALER_PORT) is '70000': Input should be less than or equal to 65535"),
        (
            [],
            {"ARK_SCALER_HOLD_SECONDS": "long"},
            "--hold-seconds (ARK_SCALER_HOLD_SECONDS) is 'long': Input should be",
        ),
        (["--redis-timeout-seconds=0"], {}, "--redis-timeout-seconds (ARK_SCALER_REDIS_TIMEOUT_SECONDS) is '0'"),
        (["--redis=http://u:geheim@x"], {}, "Redis URL has the scheme 'http'; allowed: redis"),
        (["--redis=redis://x EU=redis://y"], {}, "a connection's name, before '=', is not made of lower-case"),
        (["--redis=redis://x redis://y"], {}, "connection 'default' is given twice"),
        (["--allow-streams=agent-tasks"], {}, "'agent-tasks' is not NAMESPACE=STREAM"),
        (["--tls-cert=c.pem"], {}, "--tls-cert and --tls-key go together"),
        (["--tls-client-ca=c.pem"], {}, "--tls-client-ca needs --tls-cert"),
        (["--log-level=loud"], {}, "--log-level"),
        (["--prot=1"], {}, "unrecognized arguments: --prot=1"),
    ],
)
def test_a_bad_setting_ends_the_program_with_a_line_that_names_it(
    flags: list[str], environment: dict[str, str], message: str
) -> None:
    ended = ark_scaler(*flags, **environment)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "geheim" not in ended.stderr


def test_the_variable_of_a_service_of_the_same_name_is_not_taken_for_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets ARK_SCALER_PORT in every Pod beside a Service that is named ark-scaler."""
    monkeypatch.setenv("ARK_SCALER_PORT", "tcp://10.96.0.7:6000")
    assert settings.load(ScalerSettings, []).port == 6000
    monkeypatch.setenv("ARK_SCALER_PORT", "6001")
    assert settings.load(ScalerSettings, []).port == 6001


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_a_port_in_use_is_named(kind: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = (port, 0) if kind == "grpc" else (0, port)
        ended = ark_scaler("--host=127.0.0.1", f"--port={ports[0]}", f"--http-port={ports[1]}", "--log-level=error")
    assert ended.returncode == 2
    line = ended.stderr.splitlines()[-1]
    assert f"cannot listen on 127.0.0.1:{port}" in line
    assert "Traceback" not in ended.stderr


async def test_the_http_endpoint_shows_queues_requests_and_redis(redis_server: RedisServer, client: Client) -> None:
    for _ in range(3):
        await add_task(client)
    await Consumer(client, QueueKeys.for_queue("default/writer"), "w").claim(1)
    async with scaler_and_keda(redis=redis_server.url) as (scaler, keda):
        await keda.metric(keda.reference())
        await keda.is_active(keda.reference("default/idle"))

        def get(path: str) -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{scaler.http_port}{path}", timeout=30) as response:
                return str(response.read().decode())

        assert await asyncio.to_thread(get, "/healthz") == "ok\n"
        assert await asyncio.to_thread(get, "/readyz") == "ok\n"
        shown = await asyncio.to_thread(get, "/metrics")
    place = 'group="agent-workers",queue="default/writer",redis="default"'
    for sample in (
        f'ark_queue_tasks{{{place},state="waiting"}} 2.0',
        f'ark_queue_tasks{{{place},state="in_flight"}} 1.0',
        'ark_scaler_requests_total{code="OK",method="GetMetrics"} 1.0',
        'ark_scaler_request_seconds_count{method="GetMetrics"} 1.0',
        'ark_scaler_redis_errors_total{redis="default"} 0.0',
        'ark_scaler_held_values_total{redis="default"} 0.0',
        'ark_scaler_redis_up{redis="default"} 1.0',
        'ark_scaler_watched_queues{redis="default"} 1.0',
    ):
        assert _normal(sample) in {_normal(line) for line in shown.splitlines()}, sample
    oldest = f"ark_queue_oldest_waiting_seconds{{{place}}} "
    [age] = [float(line.removeprefix(oldest)) for line in shown.splitlines() if line.startswith(oldest)]
    assert 0 < age < 600, "the tasks were added by this test"


def _normal(sample: str) -> tuple[str, tuple[str, ...], str]:
    """Return a sample with its labels in order."""
    name, _, rest = sample.partition("{")
    labels, _, value = rest.partition("} ")
    return name, tuple(sorted(labels.split(","))), value
