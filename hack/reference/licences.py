"""The licences of the packages in the image, from the packages' own metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from hack.reference.markdown import page, table

SOURCE = "requirements-image.lock"

_IMAGE = {
    "python_version": "3.13",
    "python_full_version": "3.13.0",
    "sys_platform": "linux",
    "platform_system": "Linux",
}
_PINNED = re.compile(r"^[a-z0-9][^\\\n]*", re.MULTILINE)
_SPDX = {
    "Apache 2.0": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: MIT License": "MIT",
}
"""What packages say without SPDX's names."""
_UNSAID = {"dumb-init": "MIT"}
"""What the licence file of a package says whose metadata say nothing."""
_PERMITTED = frozenset({"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0"})
"""Licences that software under Apache-2.0 may be distributed with, unchanged, in one image."""
_INTRODUCTION = """\
Every Python package in the image, with the licence that its metadata or its licence file names. Ark itself is under
Apache-2.0. The base image brings Debian's packages and Python, whose licences are in its `/usr/share/doc`."""


class NotPermitted(Exception):
    """A package says nothing about its licence, or has one that nobody has looked at; the message names both."""


def licences_page(lock: str) -> str:
    """Return the page.

    Args:
        lock: the image's lock file.

    Raises:
        NotPermitted: a package may not be in the image, as far as is known.
    """
    rows = [(name, version, licence) for name, version, licence in _packages(lock)]
    return page("Licences", SOURCE, _INTRODUCTION, table(("package", "version", "licence"), rows))


def _packages(lock: str) -> Iterator[tuple[str, str, str]]:
    for line in _PINNED.findall(lock):
        requirement = Requirement(line.strip())
        if requirement.marker is None or requirement.marker.evaluate(_IMAGE):
            licence = checked(requirement.name, _said(requirement.name))
            yield requirement.name, str(requirement.specifier).removeprefix("=="), licence


def _said(name: str) -> str:
    said = metadata.metadata(name).json
    classifiers = [text for text in said.get("classifier", []) if text.startswith("License ::")]
    texts = (said.get("license_expression"), said.get("license"), *classifiers, _UNSAID.get(name))
    return next((str(text) for text in texts if text not in (None, "", "UNKNOWN")), "nothing")


def checked(name: str, said: str) -> str:
    """Return a licence by SPDX's names.

    Args:
        name: the package's.
        said: what it says of its licence.

    Raises:
        NotPermitted: see `licences_page`.
    """
    licence = _SPDX.get(said, said)
    if not set(re.split(r" (?:AND|OR) ", licence)) <= _PERMITTED:
        raise NotPermitted(f"package {name} says {said!r} about its licence: may it be in the image?")
    return licence
