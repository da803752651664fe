"""A registry of one image, for a machine that cannot reach any: what a node asks for when it pulls.

Serves an OCI image layout by the read side of the distribution specification
(https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pull).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@asynccontextmanager
async def serving(layout: Path) -> AsyncIterator[int]:
    """Serve while the context is open, on loopback; gives the port.

    Args:
        layout: folder with an OCI image layout of one image, whatever its name.
    """
    [image] = json.loads((layout / "index.json").read_text())["manifests"]

    def blob(digest: str) -> Path:
        return layout / "blobs" / digest.replace(":", "/", 1)

    async def manifest(_: web.Request) -> web.FileResponse:
        headers = {"Content-Type": _MANIFEST, "Docker-Content-Digest": image["digest"]}
        return web.FileResponse(blob(image["digest"]), headers=headers)

    async def content(request: web.Request) -> web.FileResponse:
        return web.FileResponse(blob(request.match_info["digest"]))

    application = web.Application()
    application.add_routes(
        [web.get("/v2/{name}/manifests/{reference}", manifest), web.get("/v2/{name}/blobs/{digest}", content)]
    )
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
