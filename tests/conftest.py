"""Real servers for all tests: started once for each test process, empty for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ark_taskqueue import Client, QueueKeys, connect
from hack.local import redis_binary
from hack.local.redis_binary import RedisBinary
from hack.local.redis_server import RedisServer

settings.register_profile(
    "ark", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True
)
settings.load_profile("ark")

_BINARIES = {
    "newest": redis_binary.newest,
    "valkey": redis_binary.packaged_valkey,
    "redis-6.2": redis_binary.redis_6_2,
}


@pytest.fixture(scope="session")
def running_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The newest server of this machine."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_server(running_redis: RedisServer) -> RedisServer:
    """The newest server, empty."""
    running_redis.command("FLUSHALL")
    return running_redis


@pytest.fixture(scope="session", params=list(_BINARIES))
def each_running_redis(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    """Every kind of server that the task queue supports, one after the other."""
    binary: RedisBinary | None = _BINARIES[request.param]()
    if binary is None:
        pytest.skip(f"{request.param} has no package for this platform")
    with RedisServer(tmp_path_factory.mktemp("redis"), binary=binary) as server:
        yield server


@pytest.fixture
def each_redis(each_running_redis: RedisServer) -> RedisServer:
    """Every kind of server, empty."""
    each_running_redis.command("FLUSHALL")
    return each_running_redis


@pytest.fixture
async def client(redis_server: RedisServer) -> AsyncIterator[Client]:
    """A client of the newest server, empty."""
    client = connect(redis_server.url)
    yield client
    await client.aclose()


@pytest.fixture
async def each_client(each_redis: RedisServer) -> AsyncIterator[Client]:
    """A client of every kind of server, empty."""
    client = connect(each_redis.url)
    yield client
    await client.aclose()


@pytest.fixture
def queue() -> QueueKeys:
    """An agent's queue."""
    return QueueKeys.for_agent("default", "writer")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a test's own servers."""
    return tmp_path
