"""Traces: both formats, and the message for what cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from ark_cli import trace
from ark_cli.trace import Arrival, BadTrace, stretch
from hack.demo import summary

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "t.csv"
    path.write_text(text)
    return path


def test_requests_are_read_in_order_and_from_zero(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        HEADER
        + "2023-11-16 18:17:05.0000001,30,3\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.4799600,7,0\n",
    )
    first, second, third = trace.read(path)
    assert (first, second) == (Arrival(0.0, 4808, 10), Arrival(0.5, 7, 0))
    assert third.at == pytest.approx(1.02004)


def test_columns_may_come_in_any_order_and_with_others(tmp_path: Path) -> None:
    path = write(tmp_path, "x,GeneratedTokens,TIMESTAMP,ContextTokens\n1,2,2023-11-16 18:17:05,3\n")
    assert trace.read(path) == [Arrival(0.0, 3, 2)]


def test_a_summary_keeps_counts_and_sums(tmp_path: Path) -> None:
    path = write(tmp_path, "# a comment\nsecond,requests,context_tokens,generated_tokens\n3,4,10,7\n5,1,9,0\n")
    arrivals = trace.read(path)
    assert [arrival.at for arrival in arrivals] == [0.0, 0.25, 0.5, 0.75, 2.0]
    assert sum(arrival.input_tokens for arrival in arrivals) == 19
    assert sum(arrival.output_tokens for arrival in arrivals) == 7


def test_the_summary_in_the_repository_is_the_whole_trace_with_its_attribution() -> None:
    arrivals = trace.read(summary.DEFAULT)
    assert len(arrivals) == 8819
    assert 3400 < arrivals[-1].at < 3440
    assert "CC-BY-4.0" in summary.DEFAULT.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "trace t.csv has the columns none and lacks TIMESTAMP, ContextTokens, GeneratedTokens"),
        ("TIMESTAMP,ContextTokens\n2023-11-16 18:17:03,1\n", "lacks GeneratedTokens; a trace has TIMESTAMP"),
        ("second,requests\n1,2\n", "lacks context_tokens, generated_tokens"),
        (HEADER, "has no rows"),
        (HEADER + "yesterday,1,2\n", "line 2: TIMESTAMP is 'yesterday', not a UTC time like 2023-11-16 18:17:03"),
        (
            "# note\n" + HEADER + "\n2023-11-16 18:17:03,1,2\n2023-11-16 18:17:03,x,2\n",
            "line 5: ContextTokens is 'x', not a whole number",
        ),
        (HEADER + "2023-11-16 18:17:03,1,-2\n", "line 2: GeneratedTokens is '-2', not a whole number from 0"),
        (HEADER + "2023-11-16 18:17:03,1\n", "line 2: GeneratedTokens is None"),
    ],
)
def test_a_bad_trace_is_refused_with_the_line_the_value_and_what_is_allowed(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(BadTrace) as caught:
        trace.read(write(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTrace, match="cannot be read: No such file"):
        trace.read(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadTrace, match="is no UTF-8 text"):
        trace.read(tmp_path / "b.csv")


def test_a_stretch_begins_at_zero() -> None:
    arrivals = [Arrival(at, 1, 2) for at in (0.0, 59.0, 60.0, 89.0, 90.0)]
    assert [arrival.at for arrival in stretch(arrivals, 1.0, 1.5)] == [0.0, 29.0]
    with pytest.raises(BadTrace, match=r"no request from minute 2 to 3; it ends at minute 1\.5"):
        stretch(arrivals, 2.0, 3.0)
