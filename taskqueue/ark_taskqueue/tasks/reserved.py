"""The reserved consumers: a task that no worker holds is held by one of them; see `ark_taskqueue.tasks.consumer`."""

from __future__ import annotations

READY = "ark:ready"
"""Reserved consumer that holds the tasks that anybody may take."""
BACKOFF = "ark:backoff"
"""Reserved consumer that holds the failed tasks until they are due."""
REFUSED = "ark:refused"
"""Reserved consumer that holds the tasks that the provider refuses."""
SUSPECT = "ark:suspect"
"""Reserved consumer that holds the tasks that may have killed their worker."""
RESERVED = (READY, BACKOFF, REFUSED, SUSPECT)
"""The consumers that are no workers."""
HORIZON_MS = 365 * 24 * 3600 * 1000
"""How far a due time is moved into the past, milliseconds; also the longest backoff."""
GIVEN_BACK_IDLE_MS = 24 * 3600 * 1000
"""Idle time of a task that was given back, milliseconds: beyond any lease, for readers other than this package."""
