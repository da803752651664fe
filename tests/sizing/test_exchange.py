"""A sizing that another process chooses."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ark_sizing.choice import size
from ark_sizing.exchange import Question, answered, decoded
from ark_sizing.record import spans_of
from ark_sizing.setting import Base, Setting
from ark_sizing.simulation import Pool
from hack.bench import generated

SAFE = Setting(tasks_per_replica=3, patience_seconds=60.0)
RECORD = spans_of(generated.bursts(1500.0))
POOL = Pool(start_seconds=10.0, max_replicas=20)


@pytest.mark.parametrize(("wait", "present"), [(None, None), (20.0, None), (None, Setting(1.5, 15.0, Base(0.9, 300)))])
def test_the_answer_is_the_choice(wait: float | None, present: Setting | None) -> None:
    question = Question(RECORD, POOL, SAFE, wait, present)
    assert decoded(answered(question.encoded())) == size(RECORD, POOL, SAFE, wait, present)


def test_a_process_answers_on_standard_output() -> None:
    question = Question([], POOL, SAFE, None, None)
    done = subprocess.run(
        [sys.executable, "-m", "ark_sizing"], input=question.encoded(), capture_output=True, check=True, timeout=60
    )
    assert decoded(done.stdout) == size([], POOL, SAFE)
