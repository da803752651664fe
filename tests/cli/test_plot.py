"""A plot in a terminal."""

from __future__ import annotations

from ark_cli.plot import Mark, scatter


def drawn(*marks: Mark) -> list[str]:
    return scatter(marks, "hours", "seconds").splitlines()


def test_a_point_stands_where_its_numbers_say() -> None:
    lines = drawn(Mark(0.0, 0.0, "A"), Mark(5.0, 5.0, "B"), Mark(10.0, 10.0, "C"))
    [a, b, c] = [next((row, line.index(sign)) for row, line in enumerate(lines) if sign in line) for sign in "ABC"]
    assert a[0] > b[0] > c[0]
    assert a[1] < b[1] < c[1]
    assert max(map(len, lines)) <= 80


def test_of_two_points_at_one_place_the_later_one_is_seen() -> None:
    text = "".join(drawn(Mark(1.0, 1.0), Mark(1.0, 1.0, "N")))
    assert "N" in text
    assert "·" not in text


def test_points_that_are_all_zero_have_a_plot() -> None:
    assert "A" in "".join(drawn(Mark(0.0, 0.0, "A")))
