"""Tasks: submit, claim, complete, retry, dead letters, depth. One Lua script for each step.

The life of a task, all of it in Redis (nothing is ever only in a worker's memory)::

    undelivered --claim--> in flight --complete--> result
                              |  ^
                 give back,   |  |  claim (before any undelivered task)
                 lease over   v  |
                            ready <--reclaim-- backoff <--fail-- in flight --last failure--> dead letter

"Ready" and "backoff" are two reserved consumers of the group. A task that is given back or fails stays in the
group's pending entries and only changes its consumer, so it keeps its id, its place and its delivery count, and
every reader of the queue's depth goes on counting it.

A task that is cancelled leaves from wherever it is, with a result that says so.

Each priority has a stream of its own, with all of this; workers take higher priorities first. What is said of a
worker's tasks is said of those in all three.

Two more keep tasks apart from the others. "Refused" holds those that a provider refuses, where it is not known whether
it would take any other: they are claimed last, so that they cannot stand in the way. "Suspect" holds those that a
worker held when it died: each is tried on a worker that holds nothing else, so that the one that kills its worker is
found out and the others lose no attempt.

A pending entry has one time, when it was last delivered. In backoff it says when the task is due: that moment minus
`HORIZON_MS`, since Redis takes no delivery time that lies in the future.
"""
