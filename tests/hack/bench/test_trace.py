"""What the trace benchmark makes of a run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ark_cli.trace import Arrival
from ark_operator.decision import deployment
from ark_operator.decision.agent import Agent
from ark_operator.decision.options import Options
from hack.bench.trace import _cut
from hack.bench.trace.contenders import CONTENDERS
from hack.bench.trace.result import Note, Run, Sample
from hack.cluster.node.command import relocated

SUBMITTED = {"1": 100.0, "2": 100.0, "3": 101.0, "4": 102.0}


def run(*notes: Note, samples: tuple[Sample, ...] = (), completed: str = "1234") -> Run:
    return Run(SUBMITTED, notes, samples, frozenset(completed))


def test_a_wait_ends_with_the_first_attempt() -> None:
    found = run(
        Note("1", "begin", 100.5), Note("2", "begin", 140.0), Note("1", "begin", 150.0), Note("3", "begin", 102.0)
    )
    assert [found.wait(share) for share in (1, 50, 95, 99)] == [0.5, 1.0, 40.0, 40.0]
    assert found.over(30) == 1
    assert run().wait(95) == math.inf


def test_what_is_broken_off_done_twice_or_lost_is_counted() -> None:
    begun = [Note(task, "begin", 110.0) for task in "1234"]
    found = run(*begun, Note("1", "begin", 120.0), *(Note(task, "end", 130.0) for task in "1123"), completed="123")
    assert (found.broken_off, found.twice, found.lost) == (1, 1, 1)
    clean = run(*begun, *(Note(task, "end", 130.0) for task in "1234"))
    assert (clean.broken_off, clean.twice, clean.lost) == (0, 0, 0)


def test_replica_seconds_and_the_way_to_zero() -> None:
    samples = (
        Sample(0, 5, 0, 0, 0, 0),
        Sample(2, 0, 5, 3, 1, 3),
        Sample(6, 0, 0, 1, 1, 2),
        Sample(10, 0, 0, 0, 0, 0),
    )
    found = run(samples=samples)
    assert found.replica_seconds == 3 * 4 + 1 * 4
    assert found.zero_seconds == 4
    assert run(samples=samples[:3]).zero_seconds == math.inf


def test_a_stretch_is_cut_out_and_begins_at_its_own_zero() -> None:
    arrivals = [Arrival(at, 1, 2) for at in (0.0, 59.9, 60.0, 119.0, 120.0)]
    assert [arrival.at for arrival in _cut(arrivals, "1-2")] == [0.0, 59.0]


@pytest.mark.parametrize(("stretch", "told"), [("1", "from-to"), ("a-b", "from-to"), ("5-6", "no request from")])
def test_a_stretch_that_cannot_be_is_refused(stretch: str, told: str) -> None:
    with pytest.raises(SystemExit, match=told):
        _cut([Arrival(0.0, 1, 2)], stretch)


def test_an_agents_pods_find_their_program_where_it_is() -> None:
    [agent] = next(one for one in CONTENDERS if one.key == "ark").objects("127.0.0.1:6379", Path("/tmp/nursery"))
    agent["metadata"]["uid"] = "any"
    made = deployment.build(Agent(agent), Options("ark", "scaler:6000"))
    [container] = made["spec"]["template"]["spec"]["containers"]
    mounts = {mount["mountPath"]: Path("/elsewhere") for mount in container.get("volumeMounts", [])}
    assert [relocated(word, mounts) for word in container["command"]] == container["command"]
