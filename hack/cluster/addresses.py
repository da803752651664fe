"""Addresses of loopback for one cluster's Pods and Services, so that clusters beside each other do not share any."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_BLOCKS = 32
_FIRST_OF_PODS = 64
_FIRST_OF_SERVICES = 96


class NoAddresses(Exception):
    """All blocks of addresses are in use."""


@dataclass(frozen=True, slots=True)
class Block:
    """One cluster's part of 127.0.0.0/8."""

    number: int

    @property
    def services(self) -> str:
        """The range that Services get their addresses from."""
        return f"127.{_FIRST_OF_SERVICES + self.number}.0.0/16"

    def pod(self, number: int) -> str:
        """Return the address of the n-th Pod, from 1 on; used again after 65,000 Pods."""
        return f"127.{_FIRST_OF_PODS + self.number}.{(number >> 8) & 255}.{number & 255}"


@contextmanager
def claimed(folder: Path) -> Iterator[Block]:
    """Claim the first free block while the context is open; it is free again when this process is gone, however.

    Args:
        folder: the same for all clusters of a machine; gets a lock file for each block.

    Raises:
        NoAddresses: there are 32 clusters already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(_BLOCKS):
        with (folder / f"{number}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield Block(number)
            return
    raise NoAddresses(f"{_BLOCKS} clusters run on this machine already")
