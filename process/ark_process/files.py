"""How many files and connections a process may have open."""

from __future__ import annotations

import resource

_MOST = 1 << 20
"""Some container runtimes have a hard limit of a thousand millions, and kernels that refuse it."""


def allow_as_many_as_possible() -> int:
    """Raise the soft limit of open files to the hard one; return it.

    The soft one is 1,024 by tradition, for programs that use select(): with as many connections, most of them of
    somebody who says nothing, a server can accept no more, and its probes fail.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
