"""Settings: declared once, read from flags and environment, refused in one line."""

from __future__ import annotations

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from ark_process.settings import ProgramSettings, load


class Sample(ProgramSettings):
    """A program."""

    model_config = SettingsConfigDict(cli_prog_name="sample", env_prefix="SAMPLE_")

    port: int = Field(6000, ge=0, le=65535, description="A port")
    password: SecretStr = Field(SecretStr(""), max_length=8, description="A secret")


def test_a_flag_wins_over_the_environment_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(Sample, []).port == 6000
    monkeypatch.setenv("SAMPLE_PORT", "1")
    assert load(Sample, []).port == 1
    assert load(Sample, ["--port=2"]).port == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--port=70000"], "sample: --port (SAMPLE_PORT) is '70000': Input should be less than or equal to 65535"),
        (["--port=x"], "sample: --port (SAMPLE_PORT) is 'x': Input should be a valid integer"),
        (["--password=far too long"], "sample: --password (SAMPLE_PASSWORD): Value should have at most 8 items"),
    ],
)
def test_a_bad_value_is_one_line_that_names_it_unless_it_is_secret(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        load(Sample, arguments)
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith(line)
    assert shown.count("\n") == 1


class Needing(ProgramSettings):
    """A program that cannot run without a setting."""

    model_config = SettingsConfigDict(cli_prog_name="needing", env_prefix="NEEDING_")

    queue: str = Field(description="Queue to take tasks from")


def test_a_missing_value_is_named_with_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(Needing, [])
    assert capsys.readouterr().err == "needing: --queue (NEEDING_QUEUE) is missing: Queue to take tasks from\n"


def test_every_bad_value_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(Sample, ["--port=x", "--log-level=loud"])
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize("value", ["6_000", "\u0666\u0660\u0660\u0660", "6000\u00a0"])
def test_a_number_is_written_in_plain_digits(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(Sample, [f"--port={value}"])
    assert "give a number in plain digits" in capsys.readouterr().err


def test_a_misspelt_flag_is_named_without_the_password_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(Sample, ["--reds=redis://user:geheim-99@h"])
    said = capsys.readouterr().err
    assert "--reds" in said
    assert "geheim" not in said
