"""Read an operator's HTTP endpoint, and samples off its ``/metrics``."""

from __future__ import annotations

import asyncio
import re
import ssl
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from tests.eventually import eventually


async def page(port: int, path: str, context: ssl.SSLContext | None = None) -> str:
    """Return a page of the endpoint; HTTPS with a context.

    Raises:
        HTTPError: the status is not 200.
    """
    scheme = "http" if context is None else "https"

    def read() -> str:
        with urlopen(f"{scheme}://127.0.0.1:{port}{path}", timeout=30, context=context) as answer:
            text: str = answer.read().decode()
        return text

    return await asyncio.to_thread(read)


async def more(port: int, metric: str, count: int = 3) -> None:
    """Wait until a counter has risen by so many: what has not come of the first of them does not come of it at all."""
    before = await samples(port, metric)

    async def risen() -> bool:
        return await samples(port, metric) >= before + count

    await eventually(risen, f"{count} more of {metric}", every=0.1)


async def samples(port: int, metric: str, /, **labels: str) -> float:
    """Return the sum of the samples of a metric whose labels match patterns."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(await page(port, "/metrics"))
        for sample in family.samples
        if sample.name == metric
        and all(re.fullmatch(pattern, sample.labels.get(label, "")) for label, pattern in labels.items())
    )
