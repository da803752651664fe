"""The reflector on a real API server: what it tells, and that nothing but a refusal ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ark_kube import reflector as reflector_module
from ark_kube.client import Client, Event, transport
from ark_kube.errors import ApiUnavailable
from ark_kube.objects import Key, Object
from ark_kube.reflector import NotAllowed, Reflector
from hack.cluster.api import CONFIG_MAPS, SCALED_OBJECTS
from hack.local.proxy import Proxy
from tests.cluster.operator.conftest import ApiServer
from tests.cluster.operator.operating import install_keda
from tests.eventually import eventually

ALL = CONFIG_MAPS.path("default")


def config_map(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"of": "test"}}, "data": data}


class Follower:
    """A reflector that runs, and what it told."""

    def __init__(self, client: Client, **options: Any) -> None:
        self.told: list[tuple[str, str | None, str | None]] = []
        self.reflector = Reflector(client, ALL, self._changed, label_selector="of=test", **options)

    def _changed(self, key: Key, before: Object | None, now: Object | None) -> None:
        self.told.append((key[1], before["data"]["v"] if before else None, now["data"]["v"] if now else None))

    def holds(self, **expected: str) -> bool:
        """Return whether the cache has just these objects."""
        return {key[1]: (self.reflector.get(key) or {})["data"]["v"] for key in self.reflector} == expected


@asynccontextmanager
async def client_of(kubeconfig: Path) -> AsyncIterator[Client]:
    async with transport(kubeconfig) as official:
        yield Client(official, "test")


@asynccontextmanager
async def following(follower: Follower) -> AsyncIterator[Follower]:
    async with asyncio.TaskGroup() as group:
        running = group.create_task(follower.reflector.run())
        await asyncio.wait_for(follower.reflector.synced.wait(), 60)
        try:
            yield follower
        finally:
            running.cancel()


async def put(client: Client, name: str, version: str) -> None:
    await client.patch(f"{ALL}/{name}", config_map(name, v=version), "apply")


async def test_every_change_is_told_once_with_what_was_there_before(api_server: ApiServer) -> None:
    async with client_of(api_server.control_plane.admin) as client:
        await put(client, "a", "1")
        async with following(Follower(client)) as follower:
            await put(client, "b", "1")
            await put(client, "a", "2")
            await client.create(ALL, {**config_map("other", v="1"), "metadata": {"name": "other"}})
            await client.delete(f"{ALL}/b")
            await eventually(lambda: follower.holds(a="2"), "the last change")
            assert follower.told == [("a", None, "1"), ("b", None, "1"), ("a", "1", "2"), ("b", "1", None)]
            assert "managedFields" not in (follower.reflector.get(("default", "a")) or {})["metadata"]
            assert follower.reflector.silent_seconds < 30


async def test_a_list_of_many_pages_is_one_cache(api_server: ApiServer) -> None:
    async with client_of(api_server.control_plane.admin) as client:
        for start in range(0, 1100, 100):
            await asyncio.gather(*(client.create(ALL, config_map(f"c{n}", v="1")) for n in range(start, start + 100)))
        async with following(Follower(client)) as follower:
            assert len(follower.reflector) == 1100
            assert len(follower.told) == 1100


async def test_what_happened_while_the_api_server_was_away_is_told_once(api_server: ApiServer) -> None:
    async with client_of(api_server.control_plane.admin) as client:
        for name in ("stays", "changes", "goes"):
            await put(client, name, "1")
        async with Proxy(api_server.control_plane.port) as proxy:
            config = api_server.control_plane.kubeconfig_for("through", "system:masters", proxy.port)
            async with client_of(config) as cut_off, following(Follower(cut_off)) as follower:
                follower.told.clear()
                await asyncio.to_thread(api_server.kill)
                await asyncio.to_thread(api_server.start)
                proxy.drop_connections()
                await put(client, "changes", "2")
                await client.delete(f"{ALL}/goes")
                await put(client, "new", "1")
                await eventually(lambda: follower.holds(stays="1", changes="2", new="1"), "all changes", 90)
                assert sorted(follower.told) == [("changes", "1", "2"), ("goes", "1", None), ("new", None, "1")]


async def test_a_version_that_the_server_has_forgotten_means_a_new_list_and_its_difference(
    api_server: ApiServer,
) -> None:
    async with client_of(api_server.control_plane.admin) as client:
        await put(client, "a", "1")
        await asyncio.to_thread(api_server.restart)  # it has no history now, as after a compaction
        follower = Follower(client)
        follower.reflector._version = "1"
        known = config_map("gone", v="0")
        known["metadata"]["resourceVersion"] = "1"
        follower.reflector._cache[("default", "gone")] = known
        async with following(follower):
            assert follower.holds(a="1")
            assert follower.told == [("gone", "0", None), ("a", None, "1")]
            assert follower.reflector.lists == 1


async def test_what_a_writer_hands_in_is_not_undone_by_an_older_version(api_server: ApiServer) -> None:
    async with client_of(api_server.control_plane.admin) as client:
        await put(client, "a", "1")
        async with following(Follower(client)) as follower:
            older = await client.get(f"{ALL}/a")
            await put(client, "a", "2")
            newer = await client.get(f"{ALL}/a")
            follower.reflector.observe(newer)
            assert follower.holds(a="2")
            follower.reflector.observe(older)
            assert follower.holds(a="2")
            await put(client, "a", "3")
            await eventually(lambda: follower.holds(a="3"), "the next change")
            assert follower.told == [("a", None, "1"), ("a", "1", "2"), ("a", "2", "3")]
            follower.reflector.forget(("default", "a"))
            assert follower.holds()


async def test_an_answer_that_comes_after_the_deletion_brings_nothing_back(api_server: ApiServer) -> None:
    async with client_of(api_server.control_plane.admin) as client:
        await put(client, "a", "1")
        async with following(Follower(client)) as follower:
            late = await client.get(f"{ALL}/a")
            await client.delete(f"{ALL}/a")
            await eventually(follower.holds, "the deletion")
            follower.reflector.observe(late)
            assert follower.holds()
            follower.reflector.observe(late, beyond=True)
            assert follower.holds(a="1")


async def test_an_object_of_a_megabyte_comes_through(api_server: ApiServer) -> None:
    r"""As JSON it has six megabytes: every sign of these is written out as \\u003c."""
    async with client_of(api_server.control_plane.admin) as client, following(Follower(client)) as follower:
        await client.create(ALL, config_map("big", v="<" * 900_000))
        await put(client, "small", "1")
        await eventually(lambda: len(follower.reflector) == 2, "both objects", 60)
        assert follower.reflector.lists == 1, "they came through the watch"


async def test_a_watch_that_always_ends_early_and_silent_is_opened_more_and_more_seldom(
    api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reflector_module, "_WATCH_SECONDS", (1.0, 1.0))
    monkeypatch.setattr(reflector_module, "_SHORT_SECONDS", 10.0)
    async with client_of(api_server.control_plane.admin) as client:
        watches = 0
        changes = client.changes

        def counted(*arguments: Any, **options: Any) -> AsyncIterator[Event]:
            nonlocal watches
            watches += 1
            return changes(*arguments, **options)

        monkeypatch.setattr(client, "changes", counted)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(12):
                await Follower(client).reflector.run()
        assert 2 <= watches <= 6, "12 s, with pauses of up to 0.8, 1.6, 3.2 s between watches of 1 s"


async def test_a_resource_that_is_defined_later_is_found(api_server: ApiServer) -> None:
    async with client_of(api_server.control_plane.admin) as client:
        installed: list[bool] = []
        path = SCALED_OBJECTS.path("default")
        reflector = Reflector(client, path, lambda *_: None, installed=installed.append)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(reflector.run())
            await asyncio.wait_for(reflector.synced.wait(), 60)
            assert (len(reflector), reflector.installed, installed) == (0, False, [False])
            await asyncio.to_thread(install_keda, api_server.control_plane)
            await eventually(lambda: reflector.installed, "the definition is noticed", 60)
            trigger = {"type": "cpu", "metadata": {"value": "5"}}
            spec = {"scaleTargetRef": {"name": "x"}, "triggers": [trigger]}
            await client.create(
                path,
                {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "a"}, "spec": spec},
            )
            await eventually(lambda: len(reflector) == 1, "the first object")
            kubectl = api_server.control_plane.kubectl
            await asyncio.to_thread(kubectl.run, "delete", "crd", "scaledobjects.keda.sh", "--wait=false")
            await eventually(lambda: not reflector.installed, "the definition's end is noticed", 60)
            assert (len(reflector), installed) == (0, [False, True, False])
            running.cancel()


async def test_a_connection_that_is_silent_is_given_up(api_server: ApiServer) -> None:
    """A network that swallows packets closes nothing."""
    async with (
        client_of(api_server.control_plane.admin) as client,
        Proxy(api_server.control_plane.port) as proxy,
    ):
        config = api_server.control_plane.kubeconfig_for("through", "system:masters", proxy.port)
        async with (
            client_of(config) as cut_off,
            following(Follower(cut_off, idle_seconds=(0.5, 1.0))) as follower,
        ):
            proxy.hang()
            await put(client, "a", "1")
            await asyncio.sleep(1.5)
            assert follower.holds()
            assert follower.reflector.silent_seconds > 1
            proxy.drop_connections()
            proxy.resume()
            await eventually(lambda: follower.holds(a="1"), "the change after the silence", 60)


async def test_a_refusal_that_lasts_ends_it_and_says_what_to_grant(
    api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ark_kube.reflector._REFUSED_SECONDS", 2.0)
    config = api_server.control_plane.kubeconfig_for("nobody")
    async with client_of(config) as client:
        with pytest.raises(NotAllowed, match=r"403 .*nobody.* the ServiceAccount needs list and watch on /api/v1"):
            async with asyncio.timeout(30):
                await Follower(client).reflector.run()


async def test_a_server_that_is_not_there_is_asked_more_and_more_seldom(api_server: ApiServer) -> None:
    async with client_of(api_server.control_plane.admin) as client:
        await asyncio.to_thread(api_server.kill)
        calls = 0
        get = client.get

        async def counted(path: str, **query: str) -> Object:
            nonlocal calls
            calls += 1
            return await get(path, **query)

        client.get = counted  # type: ignore[method-assign]
        with pytest.raises(ApiUnavailable):
            await get(ALL)
        follower = Follower(client)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await follower.reflector.run()
        assert 2 <= calls <= 6, "5 s with pauses of 0.4 to 0.8 s, 0.8 to 1.6 s, 1.6 to 3.2 s"
        assert not follower.reflector.synced.is_set()
